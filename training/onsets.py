"""Where notes begin, for codes to keep.

Codes that bring latents back as well as 16 bits in 200 ms can say what is loud and leave out where soft notes
begin, and with that the tempo of music without drums.
"""

import numpy as np
import numpy.typing as npt
import torch
from librosa.feature import melspectrogram
from librosa.onset import onset_strength
from torch import nn

from configs.domain import SAMPLE_RATE, SAMPLES_PER_LATENT

_WINDOW = 2048
_BANDS = 24
_HIGHEST = 12_000
"""Hz"""
_FLOOR = 1e-4
"""Of the power of a band."""


def onsets(waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """[batch, frames] of [batch, samples] at 48 kHz: how much louder each latent frame is than the last.

    The mean rise of logarithmic mel levels, which beat trackers listen to.
    """
    power = melspectrogram(
        y=waveform,
        sr=SAMPLE_RATE,
        n_fft=_WINDOW,
        hop_length=SAMPLES_PER_LATENT,
        n_mels=_BANDS,
        fmax=_HIGHEST,
        pad_mode="reflect",  # a sound that goes on before the excerpt does not begin in it
    )[..., : waveform.shape[-1] // SAMPLES_PER_LATENT]
    rises: npt.NDArray[np.float32] = onset_strength(S=np.log(power + _FLOOR), center=False)
    return rises


class Ear(nn.Module):
    """Tells onsets from latents."""

    def __init__(self, channels: int, hidden: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(channels, hidden, 5, padding=2), nn.SiLU(), nn.Conv1d(hidden, 1, 3, padding=1)
        )

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """[batch, frames] of [batch, frames, channels]."""
        told: torch.Tensor = self.layers(latents.mT)[:, 0]
        return told
