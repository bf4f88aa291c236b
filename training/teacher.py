"""Trains the DiT by flow matching: it learns the velocity from music to noise, with and without conditions.

A second loss makes its states represent the notes that are played (`training.transcripts`). Without it the
DiT would ignore the music around a window.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import mse_loss

from training.chunk import Chunk
from training.codes import trained_codes
from training.data import SongBlocks
from training.files import load_weights, save_weights
from training.latents import Latents
from training.lessons import Lesson, Lessons, with_codes
from training.loop import Losses, Training
from training.miniature import Miniature
from training.recipe import Recipe
from training.timesteps import draw_timesteps
from training.transcripts import Transcriber

SEED = 3_000_000_000
WEIGHTS = "teacher.pt"
_UNCONDITIONAL = 0.15
"""Share of songs whose conditions are dropped, as in the training of the official models."""


def train_teacher(songs: SongBlocks, recipe: Recipe, work: Path, chunk: Chunk) -> bool:
    """Train until the chunk is over. A finished stage leaves its weights in `work/teacher.pt`."""
    torch.manual_seed(SEED)
    latents = Latents(work / "latents", songs)
    pupil = new_pupil(recipe, latents.silence)
    if recipe.compiled:
        pupil["miniature"].compile_layers()
    training = Training(work / "teacher", pupil, recipe.teacher, SEED)
    codebook = trained_codes(recipe, work, training.device)
    lessons = Lessons(latents, recipe)

    def loss_of(module: nn.Module, drawn: Lesson, generator: torch.Generator) -> Losses:
        pupil: Any = module
        miniature = pupil["miniature"]
        lesson = with_codes(drawn.to(training.device), codebook, latents.silence)
        count = len(lesson.latents)
        states, mask = miniature.conditions(lesson.lyrics, lesson.captions, lesson.references)
        dropped = (torch.rand(count, generator=generator) < _UNCONDITIONAL).to(training.device)
        states, mask = miniature.without_condition(states, mask, dropped)
        noise = torch.randn(lesson.latents.shape, generator=generator).to(training.device)
        timesteps = draw_timesteps(count, generator).to(training.device)
        mixed = torch.lerp(lesson.latents, noise, timesteps[:, None, None])
        predicted = miniature.velocity(mixed, timesteps, lesson.context, states, mask)
        velocity = mse_loss(predicted, noise - lesson.latents)
        made = lesson.context[..., -1]
        played = pupil["transcriber"].loss(miniature.states, lesson.transcripts, made)
        return {"loss": velocity + played, "velocity": velocity, "played": played}

    if not training.run(partial(lessons, recipe.teacher.batch), loss_of, chunk):
        return False
    training.take_average()
    save_weights(pupil["miniature"], work / WEIGHTS)
    return True


def new_pupil(recipe: Recipe, silence: torch.Tensor) -> Any:
    """Return the miniature and the transcriber, which learn in this stage, with random weights."""
    transcriber = Transcriber(recipe.dit["hidden_size"], recipe.dit["patch_size"])
    return nn.ModuleDict({"miniature": Miniature(recipe, silence), "transcriber": transcriber})


def trained_miniature(weights: Path, recipe: Recipe, silence: torch.Tensor) -> Miniature:
    """Return the model with the weights of a finished stage."""
    miniature = Miniature(recipe, silence)
    load_weights(miniature, weights)
    return miniature
