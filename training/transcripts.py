"""Describes what is played at each moment of a song, and has a head that predicts it from the DiT's states.

The music around a window contributes little to the error of flow matching, so the DiT hardly learns to use
it. For that reason its states are trained to represent the notes. REPA (Yu et al., 2024) aligns states with
those of an encoder; for composed songs the score itself is known.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from configs.domain import LATENT_RATE
from training.songs.composing import Score
from training.songs.description import Description
from training.songs.theory import MODES

_KEYS = 12 * len(MODES)
_BEAT, _BAR, _NOTES, _ONSET = 0, 2, 4, 16
"""First columns of the parts of a moment.

They are cosine and sine of the position in the beat and in the bar, the level of each pitch class, and the
level of the notes that begin.
"""
_WIDTH = 17
_WEIGHTS = (0.15, 0.15, 0.1, 0.1, *[1 / 12] * 12, 0.5)
"""Weight of each column's squared error, relative to the error of the velocity."""
_KEY_WEIGHT = 0.025
_CHORDS_LEVEL = 0.6
"""Level of chords relative to melody and bass, which are heard more."""


@dataclass(frozen=True)
class Transcripts:
    """The transcripts of a batch of songs."""

    moments: torch.Tensor
    """[batch, frames, 17]: beat, bar, pitch classes, onsets."""
    keys: torch.Tensor
    """[batch]: the numbers of the keys."""

    def to(self, device: torch.device) -> "Transcripts":
        return Transcripts(self.moments.to(device), self.keys.to(device))


def moments_of(description: Description, score: Score) -> npt.NDArray[np.float32]:
    """Return [frames, 17]: what is played at each latent frame."""
    frames = description.seconds * LATENT_RATE
    seconds = (np.arange(frames) + 0.5) / LATENT_RATE
    moments = np.zeros((frames, _WIDTH), np.float32)
    for column, period in ((_BEAT, description.beat_seconds), (_BAR, description.bar_seconds)):
        angles = 2 * np.pi * seconds / period
        moments[:, column], moments[:, column + 1] = np.cos(angles), np.sin(angles)
    begins: list[tuple[float, float]] = [(hit.onset, hit.level) for hit in score.drums]
    for notes, share in ((score.lead, 1.0), (score.chords, _CHORDS_LEVEL), (score.bass, 1.0)):
        for note in notes:
            begins.append((note.onset, note.level))
            first = int(note.onset * LATENT_RATE)
            last = max(first + 1, int((note.onset + note.length) * LATENT_RATE))
            sounding = moments[first:last, _NOTES + note.pitch % 12]
            np.maximum(sounding, share * note.level, out=sounding)
    for onset, level in begins:
        frame = int(onset * LATENT_RATE)
        if frame < frames:
            moments[frame, _ONSET] = max(moments[frame, _ONSET], level)
    return moments


def key_of(description: Description) -> int:
    """Return the number of the key, from 0 to 23."""
    return description.key.tonic + 12 * MODES.index(description.key.mode)


class Transcriber(nn.Module):
    """Predicts moments and key from hidden states [batch, patches, hidden] of `patch` frames each."""

    def __init__(self, hidden: int, patch: int) -> None:
        super().__init__()
        self._patch = patch
        self.layers = nn.Sequential(
            nn.LayerNorm(hidden),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, patch * _WIDTH + _KEYS),
        )

    def loss(self, states: torch.Tensor, true: Transcripts, made: torch.Tensor) -> torch.Tensor:
        """Return the scalar error of the moments where `made` [batch, frames] is 1, and of the key."""
        told, keys = self.layers(states.float()).split([self._patch * _WIDTH, _KEYS], dim=-1)
        batch, patches = told.shape[:2]
        frames = true.moments.shape[1]
        moments = told.reshape(batch, patches * self._patch, _WIDTH)[:, :frames]
        shares = made[..., None] / made.sum()
        columns = ((moments - true.moments) ** 2 * shares).sum(dim=(0, 1))
        of_songs = cross_entropy(keys.mean(dim=1), true.keys)
        of_patches = cross_entropy(keys.flatten(0, 1), true.keys.repeat_interleave(patches))
        return torch.dot(columns, columns.new_tensor(_WEIGHTS)) + _KEY_WEIGHT * (of_songs + of_patches)
