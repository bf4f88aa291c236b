"""Sample rate conversion of a stream with soxr.

The original model resamples with torchaudio's default, a windowed sinc of width 6. soxr's filter is steeper;
up to half of the lower Nyquist frequency the two agree to 60 dB.
"""

import math

import numpy as np
import soxr

from deployments.common.stored_recordings import Samples


class Resampler:
    """Converts stereo block by block; without effect where both rates are equal.

    For n input samples the outputs have ceil(n × to_rate / from_rate) samples in total.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._from_rate, self._to_rate = from_rate, to_rate
        self._stream = (
            None if from_rate == to_rate else soxr.ResampleStream(from_rate, to_rate, 2, "float32", "HQ")
        )
        self._received = self._given = 0

    def push(self, block: Samples) -> Samples:
        """Convert a block: [2, n] -> [2, m]."""
        if self._stream is None:
            return block
        self._received += block.shape[1]
        out: Samples = self._stream.resample_chunk(np.ascontiguousarray(block.T)).T
        self._given += out.shape[1]
        return out

    def finish(self) -> Samples:
        """The remaining output, [2, m]. Nothing may be pushed afterwards."""
        if self._stream is None:
            return np.empty((2, 0), np.float32)
        # soxr rounds the length. Silence for one more sample is added, and the excess is cut off.
        silence = np.zeros((math.ceil(self._from_rate / self._to_rate), 2), np.float32)
        missing = -(-self._received * self._to_rate // self._from_rate) - self._given
        rest: Samples = self._stream.resample_chunk(silence, last=True).T
        return rest[:, :missing]
