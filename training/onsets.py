"""Where notes begin, for codes to keep.

Codes that bring latents back as well as 16 bits in 200 ms can say what is loud and leave out where soft notes
begin, and with that the tempo of music without drums.
"""

from functools import cache

import torch
from librosa.filters import mel
from torch import nn

from deployments.domain import SAMPLE_RATE, SAMPLES_PER_LATENT

_WINDOW = 2048
_BANDS = 24
_HIGHEST = 12_000
"""Hz"""
_FLOOR = 1e-4
"""Of the power of a band."""


def onsets(waveform: torch.Tensor) -> torch.Tensor:
    """[batch, frames] of [batch, samples] at 48 kHz: how much louder each latent frame is than the last.

    The mean rise of logarithmic mel levels (spectral flux), which beat trackers listen to.
    """
    spectrum = torch.stft(
        waveform, _WINDOW, SAMPLES_PER_LATENT, window=torch.hann_window(_WINDOW), return_complex=True
    )
    power = spectrum.abs().square()[..., : waveform.shape[-1] // SAMPLES_PER_LATENT]
    levels = torch.log(_mel() @ power + _FLOOR)
    return torch.diff(levels, dim=-1, prepend=levels[..., :1]).relu().mean(dim=1)


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


@cache
def _mel() -> torch.Tensor:
    return torch.from_numpy(mel(sr=SAMPLE_RATE, n_fft=_WINDOW, n_mels=_BANDS, fmax=_HIGHEST))
