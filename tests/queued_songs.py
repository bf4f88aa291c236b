"""Songs in the Generator's step queue, for tests of what is chosen for a forward."""

import torch

from deployments.common.messages import DiffusionOptions
from deployments.generator.adapters.mounting import Mount
from deployments.generator.engine import Song
from deployments.generator.step_queue import DenoiseJob, QueuedSong, StepQueue
from deployments.generator.trajectory import Condition, Trajectory

CHANNELS = 4
STEPS = 8


def song(frames: int, steps: int = STEPS, heun_steps: int = 0) -> Song:
    """Return a song of noise, which takes one token a frame."""
    noise = torch.zeros(frames, CHANNELS)
    condition = Condition(torch.zeros(1, 8), torch.zeros(frames, 2 * CHANNELS))
    timesteps = tuple(1 - step / steps for step in range(steps))
    trajectory = Trajectory(noise, noise, timesteps, condition, heun_steps=heun_steps)
    return Song(trajectory, DiffusionOptions(), None, ())


def queue_of(*jobs: list[int], text_tokens: int = 0) -> StepQueue:
    """Return a queue of jobs that joined one after the other, with songs of these lengths in tokens.

    Each song has texts of `text_tokens` tokens.
    """
    queue = StepQueue(lambda song: song.trajectory.frames, lambda _song: text_tokens)
    for frames in jobs:
        queue.join(DenoiseJob((), songs=[song(count) for count in frames]))
    return queue


def queue_with_adapters(*mounts: Mount | None) -> StepQueue:
    """Return a queue of jobs with a song of 100 tokens each, which joined one after the other."""
    queue = StepQueue(lambda song: song.trajectory.frames)
    for mount in mounts:
        queue.join(DenoiseJob((), mount=mount, songs=[song(100)]))
    return queue


def sizes(batch: list[QueuedSong]) -> list[int]:
    """Return the tokens of each song."""
    return [queued.song.trajectory.frames for queued in batch]
