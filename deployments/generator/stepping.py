"""Functions that run on the engine's threads: preparing songs, and stepping them even if memory runs out."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch

from deployments.common.bisection import run_bisected
from deployments.common.errors import EngineError, JobError
from deployments.common.messages import Untimed
from deployments.generator.engine import FinishedSong, GeneratorEngine, Song, Velocities
from deployments.generator.lyrics.listener import HeardLyrics
from deployments.generator.step_queue import DenoiseJob

TOO_LARGE = "This song is too long for the memory of the server's model."

StepOutcome = FinishedSong | Exception | None
"""A finished song, the exception with which it failed, or None if it goes on."""


@dataclass(frozen=True)
class StepResult:
    """The outcomes of a batch."""

    outcomes: list[StepOutcome]
    """One for each song."""
    failed_tokens: int | None
    """Tokens of the smallest forward of several songs that did not fit into memory; None if all fitted."""


def prepare_next(engine: GeneratorEngine, job: DenoiseJob) -> None:
    """Encode the prompt and the source of the job's next song; free memory and retry once if it is full.

    Raises EngineError if it is full even then: other songs fill it.
    """
    for _ in range(2):
        with suppress(torch.OutOfMemoryError, MemoryError):
            job.prepare_next(engine)
            return
        # The traceback kept the failed song's tensors alive until here.
        engine.free_memory()
    raise EngineError("a song could not be prepared, because the memory is full")


def listen(engine: GeneratorEngine, song: FinishedSong) -> HeardLyrics | Untimed | None:
    """The song's attention to its lyrics where it is wanted, or why there is none.

    A song whose attention does not fit into memory is finished all the same.
    """
    if song.lyrics is None:
        return song.used.untimed
    for _ in range(2):
        with suppress(torch.OutOfMemoryError, MemoryError):
            return engine.listen(song.lyrics, song.latents)
        engine.free_memory()
    return "memory"


def make_step(engine: GeneratorEngine, songs: Sequence[Song]) -> StepResult:
    """Move each song by one step, all in one forward unless that fails."""
    too_large: list[int] = []

    def out_of_memory(failed: Sequence[Song]) -> JobError:
        engine.free_memory()
        if len(failed) > 1:
            too_large.append(sum(engine.tokens(song) for song in failed))
        return JobError(TOO_LARGE)

    velocities = run_bisected(songs, engine.velocities, out_of_memory)
    outcomes = [_advance(engine, song, each) for song, each in zip(songs, velocities, strict=True)]
    return StepResult(outcomes, min(too_large, default=None))


def _advance(engine: GeneratorEngine, song: Song, velocities: Velocities | Exception) -> StepOutcome:
    if isinstance(velocities, Exception):
        return velocities
    try:
        engine.advance(song, velocities)
        return engine.finish(song) if song.trajectory.done else None
    except Exception as error:
        return error
