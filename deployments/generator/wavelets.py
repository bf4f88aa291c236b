"""The low band of a one-level wavelet transform along time. What it leaves of a signal is the high band.

The filters are those of PyWavelets 1.9, whose transform with zeros beyond both ends this is. The four
wavelets are orthogonal, so that one filter of each says everything: the filters for the way back are those of
the way there in reverse.
"""

from functools import cache

import torch
from torch.nn import functional

from deployments.common.messages import Wavelet

# fmt: off
_LOW_PASS: dict[Wavelet, tuple[float, ...]] = {
    "haar": (0.7071067811865476, 0.7071067811865476),
    "db4": (
        -0.010597401785069032, 0.0328830116668852, 0.030841381835560764, -0.18703481171909309,
        -0.027983769416859854, 0.6308807679298589, 0.7148465705529157, 0.2303778133088965,
    ),
    "sym8": (
        -0.0033824159510061256, -0.0005421323317911481, 0.03169508781149298, 0.007607487324917605,
        -0.1432942383508097, -0.061273359067658524, 0.4813596512583722, 0.7771857517005235,
        0.3644418948353314, -0.05194583810770904, -0.027219029917056003, 0.049137179673607506,
        0.003808752013890615, -0.01495225833704823, -0.0003029205147213668, 0.0018899503327594609,
    ),
    "db8": (
        -0.00011747678412476953, 0.0006754494064505693, -0.00039174037337694705, -0.004870352993451574,
        0.008746094047405777, 0.013981027917398282, -0.044088253930794755, -0.017369301001807547,
        0.12874742662047847, 0.0004724845739132828, -0.2840155429615469, -0.015829105256349306,
        0.5853546836542067, 0.6756307362972898, 0.31287159091429995, 0.05441584224310401,
    ),
}
# fmt: on
"""The low-pass filter of each wavelet's decomposition (`dec_lo`)."""


def low_band(signal: torch.Tensor, wavelet: Wavelet) -> torch.Tensor:
    """The low band of `signal` [frames, channels] in float32, of the same shape.

    Every second value is kept of the filtered signal, and zeros take the place of the others on the way back.
    The filters are products with a matrix: a GPU rounds those of convolutions to TF32.
    """
    frames = signal.shape[0]
    low_pass = _filter(wavelet, signal.device)
    length = len(low_pass)
    coefficients = (frames + length - 1) // 2
    padded = functional.pad(signal.T.float(), (length - 2, 2 * coefficients - frames))
    spread = padded.new_zeros(len(padded), 2 * coefficients + 1)
    spread[:, 1::2] = padded.unfold(-1, length, 2) @ low_pass.flip(0)
    return (spread.unfold(-1, length, 1) @ low_pass)[:, :frames].T


@cache
def _filter(wavelet: Wavelet, device: torch.device) -> torch.Tensor:
    """[length]: the low-pass filter of the decomposition."""
    return torch.tensor(_LOW_PASS[wavelet], device=device)
