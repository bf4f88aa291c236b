"""Sample rate conversion.

The original model resamples with torchaudio's default: a windowed sinc of width 6, rolloff 0.99, Hann window.
On a GPU that very function runs. On the CPU soxr does it: its filter is steeper, and up to half of the lower
Nyquist frequency the two agree to 60 dB.
"""

import math
import threading

import numpy as np
import soxr

from deployments.codec.audio_files import Samples

_ONE_AT_A_TIME = threading.Lock()
"""A recording of 600 s takes 1 GB of a GPU meanwhile, and several threads read files."""
_MAX_TAPS = 1 << 24
"""torchaudio builds a filter of about `from × to / gcd²` taps: 48,000 / 44,101 Hz would take gigabytes."""


def resample(samples: Samples, from_rate: int, to_rate: int, device: str = "cpu") -> Samples:
    """[channels, n] at `from_rate` Hz -> [channels, ceil(n × to_rate / from_rate)] at `to_rate` Hz."""
    if from_rate == to_rate:
        return samples
    divisor = math.gcd(from_rate, to_rate)
    if device != "cpu" and (from_rate // divisor) * (to_rate // divisor) <= _MAX_TAPS:
        return _resample_on_gpu(samples, from_rate, to_rate, device)
    # soxr rounds the length: silence enough for one more sample goes in, and what is too much is cut off.
    longer = np.pad(samples.T, ((0, math.ceil(from_rate / to_rate)), (0, 0)))
    length = math.ceil(samples.shape[1] * to_rate / from_rate)
    return np.ascontiguousarray(soxr.resample(longer, from_rate, to_rate, quality="HQ")[:length].T)


def _resample_on_gpu(samples: Samples, from_rate: int, to_rate: int, device: str) -> Samples:
    import torch
    import torchaudio

    with _ONE_AT_A_TIME:
        waveform = torch.from_numpy(samples).to(device)
        resampled: Samples = torchaudio.functional.resample(waveform, from_rate, to_rate).cpu().numpy()
    return resampled
