"""Draws batches for the DiT: songs, their prompts, and the audio that serves as context."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt
import torch

from configs.domain import Task
from deployments.generator.tasks import REFERENCE_FRAMES
from training.codes import CodeBook
from training.latents import Latents
from training.prompting import Prompter, padded
from training.recipe import Recipe
from training.songs.song import Purpose, score
from training.transcripts import Transcripts, key_of, moments_of

_TASKS = (Task.TEXT2MUSIC, Task.COVER, Task.REPAINT)
_SHARES = (0.2, 0.2, 0.6)
_SHORTEST_WINDOW, _LONGEST_WINDOW, _LEAST_AROUND = 50, 225, 25
"""Frames of a window to repaint (2 to 9 s), and the fewest frames that stay as they are (1 s)."""
_REFERENCED = 0.5
"""Share of songs with a timbre reference, which consists of other moments of the song."""
_REFERENCE_PIECE = 125
"""Frames of each piece of a reference (5 s)."""

Padded = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Lesson:
    """A batch of songs of one length."""

    latents: torch.Tensor
    """[batch, frames, channels]."""
    context: torch.Tensor
    """[batch, frames, 2 * channels]."""
    covers: torch.Tensor
    """[batch], true where the context is to be decoded from the song's codes. `with_codes` fills it in."""
    references: torch.Tensor
    """[batch, 750, channels]."""
    lyrics: Padded
    captions: Padded
    transcripts: Transcripts

    def to(self, device: torch.device) -> "Lesson":
        return Lesson(
            self.latents.to(device),
            self.context.to(device),
            self.covers.to(device),
            self.references.to(device),
            (self.lyrics[0].to(device), self.lyrics[1].to(device)),
            (self.captions[0].to(device), self.captions[1].to(device)),
            self.transcripts.to(device),
        )


@dataclass(frozen=True)
class Lessons:
    """Draws lessons on the CPU."""

    latents: Latents
    recipe: Recipe

    def __call__(self, batch: int, generator: torch.Generator) -> Lesson:
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        songs = self.latents.songs
        seconds = songs.draw_seconds(rng)
        chosen = songs.draw(songs.lasting(seconds, seconds), batch, rng)
        tasks = [_TASKS[index] for index in rng.choice(len(_TASKS), batch, p=_SHARES)]
        latents = torch.stack([self.latents.of(block, place) for block, place in chosen])
        referenced = rng.random(batch) < _REFERENCED
        prompter = _prompter(self.recipe.text["vocab_size"])
        prompts = [
            prompter(songs.description(block, place), task, bool(has_reference), rng)
            for (block, place), task, has_reference in zip(chosen, tasks, referenced, strict=True)
        ]
        lyrics, captions = ([prompt[side] for prompt in prompts] for side in (0, 1))
        return Lesson(
            latents,
            self._context(latents, tasks, rng),
            torch.tensor([task is Task.COVER for task in tasks]),
            self._references(latents, referenced, rng),
            padded(lyrics),
            padded(captions),
            self._transcripts(chosen),
        )

    def _transcripts(self, chosen: list[tuple[int, int]]) -> Transcripts:
        songs = self.latents.songs
        played = [_transcript(songs.numbers(block)[place], songs.seconds(block)) for block, place in chosen]
        moments, keys = zip(*played, strict=True)
        return Transcripts(torch.from_numpy(np.stack(moments)), torch.tensor(keys))

    def _context(self, latents: torch.Tensor, tasks: list[Task], rng: np.random.Generator) -> torch.Tensor:
        """Return each song's context: latents and the mask of frames to make, as in `generator.tasks`."""
        frames = latents.shape[1]
        shown = self.latents.silence.expand_as(latents).clone()
        mask = torch.ones_like(latents)
        for row, task in enumerate(tasks):
            if task is Task.REPAINT:
                longest = min(frames - _LEAST_AROUND, _LONGEST_WINDOW)
                length = int(rng.integers(_SHORTEST_WINDOW, longest))
                start = int(rng.integers(0, frames - length + 1))
                end = start + length
                shown[row, :start], shown[row, end:] = latents[row, :start], latents[row, end:]
                mask[row, :start] = mask[row, end:] = 0.0
        return torch.cat([shown, mask], dim=-1)

    def _references(
        self, latents: torch.Tensor, referenced: npt.NDArray[np.bool_], rng: np.random.Generator
    ) -> torch.Tensor:
        references = self.latents.silence.repeat(len(latents), REFERENCE_FRAMES, 1)
        for row in np.flatnonzero(referenced):
            starts = rng.integers(
                0, latents.shape[1] - _REFERENCE_PIECE + 1, REFERENCE_FRAMES // _REFERENCE_PIECE
            )
            pieces = [latents[row, start : start + _REFERENCE_PIECE] for start in starts]
            references[row] = torch.cat(pieces)
        return references


@cache
def _prompter(vocabulary_size: int) -> Prompter:
    return Prompter(vocabulary_size)


@cache
def _transcript(number: int, seconds: int) -> tuple[npt.NDArray[np.float32], int]:
    description, played = score(Purpose.TRAINING, number, seconds)
    return moments_of(description, played), key_of(description)


@torch.no_grad()
def with_codes(lesson: Lesson, codebook: CodeBook, silence: torch.Tensor) -> Lesson:
    """Return the lesson with the context of its covers filled in. `silence` is [channels]."""
    covered = lesson.latents[lesson.covers]
    if not len(covered):
        return lesson
    frames, channels = covered.shape[1:]
    missing = -frames % codebook.tokenizer.pool_window_size
    filling = silence.to(covered.device).expand(len(covered), missing, channels)
    context = lesson.context.clone()
    said = codebook(torch.cat([covered, filling], dim=1))[:, :frames]
    context[lesson.covers, :, :channels] = said.to(context.dtype)
    return replace(lesson, context=context)
