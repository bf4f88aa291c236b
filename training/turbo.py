"""Distils the teacher into eight steps: a student learns where the teacher's small guided steps lead.

This is progressive distillation (Salimans and Ho, 2022) onto the turbo schedule in a single stage. A song is
noised to one of the eight timesteps. The teacher takes a few small steps with classifier-free guidance to the
next timestep. The straight line between the two points is the velocity that the student learns to predict at
once, guidance included.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import mse_loss

from deployments.checkpoints.catalog import TURBO_STEPS
from training.chunk import Chunk
from training.codes import trained_codes
from training.data import SongBlocks
from training.files import save_weights
from training.latents import Latents
from training.lessons import Lesson, Lessons, with_codes
from training.loop import Losses, Training
from training.miniature import Miniature
from training.recipe import Recipe
from training.teacher import WEIGHTS as TEACHER_WEIGHTS
from training.teacher import trained_miniature
from training.timesteps import TURBO_TIMESTEPS

SEED = 4_000_000_000
WEIGHTS = "turbo.pt"
GUIDANCE_SCALE = 3.0
SMALL_STEPS = 2
"""Steps of the teacher for one step of the student."""

States = tuple[torch.Tensor, torch.Tensor]


def train_turbo(songs: SongBlocks, recipe: Recipe, work: Path, chunk: Chunk) -> bool:
    """Distil until the chunk is over. A finished stage leaves its weights in `work/turbo.pt`."""
    torch.manual_seed(SEED)
    latents = Latents(work / "latents", songs)
    student = trained_miniature(work / TEACHER_WEIGHTS, recipe, latents.silence)
    training = Training(work / "turbo", student, recipe.turbo, SEED)
    device = training.device
    teacher = trained_miniature(work / TEACHER_WEIGHTS, recipe, latents.silence).to(device).eval()
    codebook = trained_codes(recipe, work, device)
    lessons = Lessons(latents, recipe)

    def loss_of(module: nn.Module, drawn: Lesson, generator: torch.Generator) -> Losses:
        miniature: Any = module
        lesson = with_codes(drawn.to(device), codebook, latents.silence)
        places = torch.randint(TURBO_STEPS, (len(lesson.latents),), generator=generator)
        start, end = (TURBO_TIMESTEPS[places + later].to(device) for later in (0, 1))
        noise = torch.randn(lesson.latents.shape, generator=generator).to(device)
        mixed = torch.lerp(lesson.latents, noise, start[:, None, None])
        target = teachers_velocity(teacher, lesson, mixed, start, end)
        conditions = miniature.conditions(lesson.lyrics, lesson.captions, lesson.references)
        return {"loss": mse_loss(miniature.velocity(mixed, start, lesson.context, *conditions), target)}

    if not training.run(partial(lessons, recipe.turbo.batch), loss_of, chunk):
        return False
    training.take_average()
    save_weights(training.module, work / WEIGHTS)
    return True


@torch.no_grad()
def teachers_velocity(
    teacher: Miniature, lesson: Lesson, mixed: torch.Tensor, start: torch.Tensor, end: torch.Tensor
) -> torch.Tensor:
    """Return [batch, frames, channels]: the teacher's mean guided velocity from `start` to `end` [batch]."""
    conditions = teacher.conditions(lesson.lyrics, lesson.captions, lesson.references)
    everywhere = torch.ones(len(mixed), dtype=torch.bool, device=mixed.device)
    without = teacher.without_condition(*conditions, everywhere)
    latents = mixed
    size = (start - end) / SMALL_STEPS
    for place in range(SMALL_STEPS):
        timesteps = start - place * size
        guided = _guided(teacher, latents, timesteps, lesson.context, conditions, without)
        latents = latents - size[:, None, None] * guided
    return (mixed - latents) / (start - end)[:, None, None]


def _guided(
    teacher: Miniature,
    latents: torch.Tensor,
    timesteps: torch.Tensor,
    context: torch.Tensor,
    conditions: States,
    without: States,
) -> torch.Tensor:
    both = [torch.cat(pair) for pair in zip(conditions, without, strict=True)]
    answers = teacher.velocity(
        torch.cat([latents, latents]), torch.cat([timesteps] * 2), torch.cat([context] * 2), both[0], both[1]
    )
    conditional, unconditional = answers.chunk(2)
    return torch.lerp(unconditional, conditional, GUIDANCE_SCALE)
