"""The low band against PyWavelets' own numbers.

tests/data/wavelets.json holds what PyWavelets 1.9 makes of the first samples of a signal, by wavelet and
number of samples: `idwt(dwt(samples, wavelet, "zero")[0], None, wavelet, "zero")`.
"""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from deployments.common.messages import Wavelet
from deployments.generator.correction import StepCorrection
from deployments.generator.wavelets import low_band

NUMBERS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "data" / "wavelets.json").read_text())
SIGNAL = torch.tensor(NUMBERS["signal"])

each_wavelet = pytest.mark.parametrize("wavelet", get_args(Wavelet))


@each_wavelet
def test_the_low_band_is_that_of_pywavelets(wavelet: Wavelet) -> None:
    for samples, expected in NUMBERS["low_bands"][wavelet].items():
        # The second channel shows that channels are apart from each other.
        signal = torch.stack([SIGNAL[: int(samples)], torch.zeros(int(samples))], dim=1)
        found = low_band(signal, wavelet)
        assert torch.allclose(found[:, 0], torch.tensor(expected), atol=1e-6)
        assert not found[:, 1].any()


def test_the_haar_wavelet_takes_the_mean_of_each_pair() -> None:
    signal = torch.tensor([[1.0], [3.0], [-2.0], [6.0], [5.0]])
    assert low_band(signal, "haar")[:, 0].tolist() == pytest.approx([2, 2, 2, 2, 2.5])


def test_each_mode_moves_the_latents_by_its_share_of_its_band() -> None:
    latents, clean = SIGNAL[:, None], SIGNAL.flip(0)[:, None]
    difference = latents - clean
    low = low_band(difference, "haar")
    high = difference - low
    moved = {
        "low": 0.8 * 0.1 * low,
        "high": 0.2 * 0.1 * high,
        "double": 0.8 * 0.1 * low + 0.2 * 0.5 * high,
        "pix": 0.1 * difference,
    }
    for mode, expected in moved.items():
        found = StepCorrection(mode, 0.1, 0.5, "haar").corrected(latents, clean, 0.8)
        assert torch.allclose(found, latents + expected, atol=1e-6), mode
