"""Who goes into the next forward."""

import torch

from deployments.generator.engine import Song
from deployments.generator.line import Job, Line, Turn
from deployments.generator.trajectory import Condition, Trajectory

CHANNELS = 4
STEPS = 8


def song(frames: int, steps: int = STEPS) -> Song:
    noise = torch.zeros(frames, CHANNELS)
    condition = Condition(torch.zeros(1, 8), torch.zeros(frames, 2 * CHANNELS))
    timesteps = tuple(1 - step / steps for step in range(steps))
    return Song(Trajectory(noise, noise, timesteps, condition), None, ())


def line_of(*jobs: list[int]) -> Line:
    """Jobs that joined one after the other, each with songs of so many frames (tokens, here)."""
    line = Line(lambda song: song.trajectory.frames)
    for frames in jobs:
        line.join(Job((), [song(count) for count in frames]))
    return line


def sizes(batch: list[Turn]) -> list[int]:
    return [turn.song.trajectory.frames for turn in batch]


def step(line: Line, batch: list[Turn]) -> None:
    for turn in batch:
        turn.song.trajectory.advance([torch.zeros_like(turn.song.trajectory.latents)])
    line.give_back(batch)


def test_the_shortest_goes_first_with_all_that_fit_beside_it() -> None:
    assert sizes(line_of([500], [100], [300]).take(room=400)) == [100, 300]


def test_a_song_larger_than_the_room_goes_alone() -> None:
    assert sizes(line_of([500], [600]).take(room=400)) == [500]


def test_the_songs_of_a_forward_are_not_taken_again_before_they_come_back() -> None:
    line = line_of([100], [100], [100])
    first, second = line.take(room=200), line.take(room=200)
    assert [len(first), len(second), len(line.take(room=200))] == [2, 1, 0]
    step(line, first)
    assert line.take(room=200) == first


def test_nobody_who_comes_late_overtakes_a_song_that_is_due() -> None:
    line = line_of([400])
    for _ in range(5):
        step(line, line.take(room=1))  # the clock runs
    line.join(Job((), [song(300)]))
    assert sizes(line.take(room=1)) == [400]


def test_a_finished_song_leaves_the_line() -> None:
    line = line_of([100], [200])
    for _ in range(STEPS):
        step(line, line.take(room=100))
    assert (len(line), line.tokens) == (1, 200)
    assert sizes(line.take(room=100)) == [200]


def test_a_job_that_leaves_while_a_forward_has_its_song_does_not_come_back() -> None:
    line = line_of([100, 100], [200])
    batch = line.take(room=200)
    line.leave(batch[0].job)
    step(line, batch)
    assert sizes(line.take(room=400)) == [200]


def test_it_knows_whether_all_songs_are_of_one_job() -> None:
    assert line_of([100, 200]).of_one_job
    assert not line_of([100], [100]).of_one_job
    assert line_of().of_one_job
