"""Conversion of a recording, with all its parts in sequence, to one file of 48 kHz stereo."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from configs.domain import SAMPLE_RATE
from deployments.common.stored_recordings import FRAME_BYTES, HEADER_BYTES, SILENCE_PEAK, Samples
from serve_app.recordings.decoding import Block, Packets, blocks
from serve_app.recordings.errors import RecordingError
from serve_app.recordings.parts import parts_of
from serve_app.recordings.resampling import Resampler

_FRAMES = 1 << 16
"""Samples per channel that `_fit` processes at a time."""


@dataclass(frozen=True)
class Converted:
    """Properties of the converted recording."""

    silent: bool
    """Whether all samples are within ±SILENCE_PEAK."""
    damaged: bool
    """Whether parts of the file could not be decoded and are missing."""


def convert(recording: int, output: BinaryIO, max_seconds: float) -> Converted:
    """Decode the file of the descriptor `recording` into `output`, a `common.stored_recordings` file.

    The caller writes the header. The samples of 48 kHz stereo are not changed, except that samples beyond
    full scale are clipped. A downmix that exceeds full scale is scaled down as a whole instead. Raises
    RecordingError, MemoryError, and OSError where `output` cannot be written.
    """
    packets, peak, downmixed = Packets(), 0.0, False
    output.seek(HEADER_BYTES)
    for block in _resampled(_within(_all_blocks(recording, packets), max_seconds)):
        if not np.isfinite(block.samples).all():
            raise RecordingError("contains samples that are not finite numbers")
        peak = max(peak, float(np.abs(block.samples).max(initial=0.0)))
        downmixed = downmixed or block.downmixed
        output.write(np.ascontiguousarray(block.samples.T, "<f4").tobytes())
    if 2 * packets.lost > packets.seen:
        raise RecordingError("is damaged: most of it cannot be decoded")
    if output.tell() == HEADER_BYTES:
        raise RecordingError("contains no audio samples")
    if peak > 1:
        _fit(output, 1 / peak if downmixed else 1.0)
    output.flush()
    return Converted(silent=peak < SILENCE_PEAK, damaged=packets.lost > 0)


def _all_blocks(recording: int, packets: Packets) -> Iterator[Block]:
    """The blocks of all parts that can be decoded. Raises RecordingError where there is none."""
    first_error: RecordingError | None = None
    decoded = False
    for part in parts_of(recording):
        try:
            for block in blocks(part, packets):
                decoded = decoded or block.samples.size > 0
                yield block
        except RecordingError as error:
            first_error = first_error or error
            packets.lost += 1
    if first_error and not decoded:
        raise first_error


def _within(stream: Iterator[Block], max_seconds: float) -> Iterator[Block]:
    """The same blocks. Raises RecordingError once they are longer than `max_seconds`."""
    before, count, rate = 0.0, 0, 1
    for block in stream:
        if block.sample_rate != rate:
            before, count, rate = before + count / rate, 0, block.sample_rate
        count += block.samples.shape[1]
        if before + count / rate > max_seconds:
            raise RecordingError(f"is longer than {max_seconds:g} seconds")
        yield block


def _resampled(stream: Iterator[Block]) -> Iterator[Block]:
    resampler, rate = None, 0
    for block in stream:
        if resampler is None or block.sample_rate != rate:
            if resampler is not None:
                yield Block(resampler.finish(), SAMPLE_RATE, downmixed=False)
            resampler, rate = Resampler(block.sample_rate, SAMPLE_RATE), block.sample_rate
        yield Block(resampler.push(block.samples), SAMPLE_RATE, block.downmixed)
    if resampler is not None:
        yield Block(resampler.finish(), SAMPLE_RATE, downmixed=False)


def _fit(output: BinaryIO, gain: float) -> None:
    """Multiply all samples of the file by `gain`, and clip them to ±1."""
    output.flush()
    position = HEADER_BYTES
    while True:
        output.seek(position)
        stored = output.read(_FRAMES * FRAME_BYTES)
        if not stored:
            return
        samples: Samples = np.frombuffer(stored, "<f4") * np.float32(gain)
        output.seek(position)
        output.write(samples.clip(-1, 1).tobytes())
        position += len(stored)
