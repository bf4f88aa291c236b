"""Computes levels on the mel scale."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from auraloss.freq import STFTLoss
from torch import nn
from transformers.audio_utils import mel_filter_bank

from configs.domain import SAMPLE_RATE


def mel_filters(bands: int, transform_size: int, highest: float = SAMPLE_RATE / 2) -> npt.NDArray[np.float32]:
    """Return [bands, transform_size // 2 + 1]: Slaney's triangles of equal area, up to `highest` Hz."""
    filters = mel_filter_bank(
        num_frequency_bins=transform_size // 2 + 1,
        num_mel_filters=bands,
        min_frequency=0.0,
        max_frequency=highest,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return np.ascontiguousarray(filters.T, np.float32)


class _MelLevels(STFTLoss):  # type: ignore[misc]
    """The mean difference of logarithmic levels at one resolution.

    The filters are set here, because auraloss makes them with librosa, which needs libsndfile.
    """

    def __init__(self, bands: int, transform_size: int, floor: float) -> None:
        super().__init__(transform_size, transform_size // 4, transform_size, w_sc=0.0, eps=floor)
        self.scale = "mel"
        self.register_buffer("fb", torch.from_numpy(mel_filters(bands, transform_size))[None])


class MelLevelsLoss(nn.Module):
    """The mean difference of logarithmic levels over several resolutions."""

    def __init__(self, bands: int, transform_sizes: Sequence[int], floor: float) -> None:
        """Build one loss for each of `transform_sizes`. `floor` is the least power of a bin."""
        super().__init__()
        self._losses = nn.ModuleList(_MelLevels(bands, size, floor) for size in transform_sizes)

    def forward(self, made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Return the scalar loss of waveforms [batch, channels, samples]."""
        return torch.stack([loss(made, wanted) for loss in self._losses]).mean()
