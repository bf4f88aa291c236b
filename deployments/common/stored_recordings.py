"""Recordings as the server stores them: WAV, 48 kHz, stereo, 32-bit float, always with the header below.

Uploaded files are never read here: `serve_app/recordings` converts them to this format in a separate process.
Since everything but the samples is fixed, reading needs no parser and no audio library.
"""

import math
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from configs.domain import AUDIO_CHANNELS, SAMPLE_RATE

Samples = npt.NDArray[np.float32]
"""Audio as [channels, samples]; full scale is ±1."""

SILENCE_PEAK = 1e-6
"""A recording whose peak is below 1e-6 counts as silent, as in the original model."""

FRAME_BYTES = 4 * AUDIO_CHANNELS
"""Bytes of one sample in both channels."""
_HEADER = struct.Struct("<4sI4s 4sIHHIIHHH 4sII 4sI")
HEADER_BYTES = _HEADER.size
"""Offset of the samples in a file."""
_FLOAT_FORMAT = 3
"""WAVE_FORMAT_IEEE_FLOAT."""


class AudioFileError(ValueError):
    """The file is not a stored recording. The message continues a sentence about the file."""


def header(frames: int) -> bytes:
    """The first HEADER_BYTES of a file with `frames` samples per channel."""
    data_bytes = frames * FRAME_BYTES
    return _HEADER.pack(
        *(b"RIFF", HEADER_BYTES - 8 + data_bytes, b"WAVE"),
        *(b"fmt ", 18, _FLOAT_FORMAT, AUDIO_CHANNELS),
        *(SAMPLE_RATE, SAMPLE_RATE * FRAME_BYTES, FRAME_BYTES, 32, 0),
        *(b"fact", 4, frames),
        *(b"data", data_bytes),
    )


def largest_file(max_seconds: float) -> int:
    """An upper bound for the bytes of a recording of `max_seconds`."""
    return HEADER_BYTES + math.ceil(max_seconds + 1) * SAMPLE_RATE * FRAME_BYTES


def read(path: Path | str) -> Samples:
    """The samples [2, n] of a stored recording, n ≥ 1.

    Raises AudioFileError for any other file, and OSError.
    """
    frames, rest = divmod(Path(path).stat().st_size - HEADER_BYTES, FRAME_BYTES)
    with Path(path).open("rb") as file:
        if frames < 1 or rest or file.read(HEADER_BYTES) != header(frames):
            raise AudioFileError("is not a recording that this version of the server has stored")
        samples = np.fromfile(file, "<f4").reshape(-1, AUDIO_CHANNELS)
    if not (samples.min() >= -1 and samples.max() <= 1):  # NaN fails both comparisons
        raise AudioFileError("holds samples beyond full scale")
    return np.ascontiguousarray(samples.T, np.float32)
