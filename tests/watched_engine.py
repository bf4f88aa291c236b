"""The real generator engine on the random checkpoints of the parity data, with a record of its calls."""

import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configs.domain import INSTRUCTIONS, Task
from configs.settings import GeneratorSettings, ModelSettings
from deployments.common.messages import DenoiseRequest, Metadata
from deployments.generator.adapters.mounting import Mount
from deployments.generator.batcher import StepBatcher
from deployments.generator.engine import FinishedSong, GeneratorEngine, Song, Velocities, load_engine
from deployments.generator.tasks import NO_RECORDINGS, RecordingLatents

CHECKPOINTS = Path(__file__).parent / "data" / "dit" / "ckpt"
CHANNELS = 8
ROUNDING = 5e-5
UNLIMITED = 1_000_000
SONG = DenoiseRequest(
    task=Task.TEXT2MUSIC,
    instruction=INSTRUCTIONS[Task.TEXT2MUSIC],
    caption="A calm piano melody",
    lyrics="[Verse 1]\nla la la",
    language="en",
    metadata=Metadata(bpm=72, key_scale="A minor", time_signature="4/4", duration=6.0),
    frames=150,
    seed=7,
)


def changed(song: DenoiseRequest, **options: Any) -> DenoiseRequest:
    """Return the same song with other diffusion options."""
    return replace(song, options=replace(song.options, **options))


LONG = changed(SONG, inference_steps=50, guidance_scale=1.0)


class WatchedEngine(GeneratorEngine):
    """The real engine, which records its calls and fails as told."""

    def __init__(self, variant: str) -> None:
        self.__dict__.update(loaded(variant).__dict__)
        self.forwards: list[list[Song]] = []
        self.tokens_of_forwards: list[int] = []
        self.events: list[str] = []
        self.memory = UNLIMITED
        """Number of tokens that fit into the memory."""
        self.refused: int | None = None
        """Frames of the songs that the forward refuses."""
        self.start_seconds = 0.0
        self.full_starts = 0
        """Number of starts that find the memory full of cached data."""

    def start(
        self,
        request: DenoiseRequest,
        recordings: RecordingLatents = NO_RECORDINGS,
        mount: Mount | None = None,
    ) -> Song:
        self.events.append("start")
        time.sleep(self.start_seconds)
        if self.full_starts:
            raise torch.OutOfMemoryError("no room for a prompt")
        return super().start(request, recordings, mount)

    def free_memory(self) -> None:
        self.full_starts = max(0, self.full_starts - 1)
        super().free_memory()

    def velocities(self, songs: Sequence[Song]) -> list[Velocities]:
        tokens = sum(self.tokens(song) for song in songs)
        if tokens > self.memory:
            raise torch.OutOfMemoryError("too many tokens")
        if any(song.trajectory.frames == self.refused for song in songs):
            raise ArithmeticError("refused")
        self.events.append("step")
        self.forwards.append(list(songs))
        self.tokens_of_forwards.append(tokens)
        return super().velocities(songs)


@cache
def loaded(variant: str) -> GeneratorEngine:
    torch.set_num_threads(1)
    models = ModelSettings(source="folder", folder=CHECKPOINTS, text_encoder="original/Qwen3-Embedding-0.6B")
    return load_engine(models, f"original/acestep-v15-{variant}", GeneratorSettings())


def latents_alone(
    variant: str,
    request: DenoiseRequest,
    recordings: RecordingLatents = NO_RECORDINGS,
    mount: Mount | None = None,
) -> np.ndarray:
    engine = loaded(variant)
    song = engine.start(request, recordings, mount)
    while not song.trajectory.done:
        engine.step([song])
    return engine.finish(song).latents


async def run(
    batcher: StepBatcher,
    *requests: DenoiseRequest,
    recordings: RecordingLatents = NO_RECORDINGS,
    mount: Mount | None = None,
) -> list[np.ndarray]:
    """Return the latents of one job's songs."""
    found: dict[int, np.ndarray] = {}
    async with aclosing(batcher.run(requests, recordings, mount)) as news:
        async for item, answer in news:
            if isinstance(answer, FinishedSong):
                found[item] = answer.latents
    return [found[item] for item in range(len(requests))]


def noise(frames: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((frames, CHANNELS)).astype(np.float32)
