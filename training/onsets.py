"""Computes where notes begin, so that codes can be trained to keep it.

A code has 16 bits for 200 ms. Codes that are trained for latents alone keep what is loud, but may lose the
onsets of soft notes and with them the tempo of music without drums.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import pad

from configs.domain import SAMPLES_PER_LATENT
from training.mel import mel_filters

_WINDOW = 2048
_BANDS = 24
_HIGHEST = 12_000
"""Highest frequency in Hz."""
_FLOOR = 1e-4
"""Floor for the power of a band."""


def onsets(waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return [batch, frames] of [batch, samples] at 48 kHz: the rise of loudness from frame to frame.

    It is the mean rise of logarithmic mel levels, which beat trackers use.
    """
    samples = torch.from_numpy(waveform)
    # With zeros as padding, a sound that continues from before the excerpt would count as an onset.
    spectra = torch.stft(
        samples,
        _WINDOW,
        SAMPLES_PER_LATENT,
        window=torch.hann_window(_WINDOW),
        pad_mode="reflect",
        return_complex=True,
    )
    filters = torch.from_numpy(mel_filters(_BANDS, _WINDOW, _HIGHEST))
    levels = (filters @ spectra.abs().square() + _FLOOR).log()
    rises = levels.diff(dim=-1).clamp_min(0.0).mean(dim=-2)
    frames = waveform.shape[-1] // SAMPLES_PER_LATENT
    return pad(rises, (1, 0))[..., :frames].numpy()


class Ear(nn.Module):
    """Predicts onsets from latents."""

    def __init__(self, channels: int, hidden: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(channels, hidden, 5, padding=2), nn.SiLU(), nn.Conv1d(hidden, 1, 3, padding=1)
        )

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Return onsets [batch, frames] predicted from [batch, frames, channels]."""
        told: torch.Tensor = self.layers(latents.mT)[:, 0]
        return told
