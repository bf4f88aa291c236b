"""Writing finished songs. The same samples give the same bytes in every format.

wav and flac hold exactly the samples given. mp3, opus and ogg hold as many after the decoder has removed the
encoder's delay; aac differs by less than its frame of 1,024 samples.
"""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import av
import numpy as np
import numpy.typing as npt
import soundfile

from configs.domain import AUDIO_CHANNELS, SAMPLE_RATE
from deployments.common.stored_recordings import Samples

_BLOCK = 1 << 16
"""Samples written between two reports."""

Report = Callable[[int], None]
"""Hears how many samples have been written; what it raises ends the writing."""


def write(samples: Samples, audio_format: str, file: BinaryIO, report: Report = lambda _: None) -> None:
    """Write `samples` [2, samples] at 48 kHz to a seekable binary file, in one of `formats.FORMATS`.

    Raises what `file` or `report` raises.
    """
    if samples.ndim != 2 or samples.shape[0] != AUDIO_CHANNELS or not samples.shape[1]:
        raise ValueError(f"expected samples [{AUDIO_CHANNELS}, n], got {list(samples.shape)}")
    _WRITERS[audio_format](_reported_blocks(samples, report), file)


def _reported_blocks(samples: Samples, report: Report) -> Iterator[Samples]:
    """Blocks [samples, 2]."""
    for start in range(0, samples.shape[1], _BLOCK):
        block = samples[:, start : start + _BLOCK]
        yield np.ascontiguousarray(block.T)
        report(start + block.shape[1])


def _pcm(block: Samples, bits: int) -> npt.NDArray[np.int32]:
    """Steps of `bits`, in the upper bits of int32: samples read from a file of that depth come back the same.

    libsndfile's own conversion truncates: it would change a 16 bit source by one step.
    """
    full_scale = 1 << (bits - 1)
    steps = np.rint(block.astype(np.float64) * full_scale).clip(-full_scale, full_scale - 1)
    return steps.astype(np.int32) << (32 - bits)


def _write_wav(blocks: Iterator[Samples], file: BinaryIO) -> None:
    with _sound_file(file, "WAV", "PCM_16") as sound:
        for block in blocks:
            sound.write(_pcm(block, 16))


def _write_flac(blocks: Iterator[Samples], file: BinaryIO) -> None:
    with _sound_file(file, "FLAC", "PCM_24") as sound:
        for block in blocks:
            sound.write(_pcm(block, 24))


def _write_mp3(blocks: Iterator[Samples], file: BinaryIO) -> None:
    # libsndfile maps the compression level 0…1 to 320…32 kbit/s.
    with _sound_file(
        file, "MP3", "MPEG_LAYER_III", bitrate_mode="CONSTANT", compression_level=(320 - 192) / (320 - 32)
    ) as sound:
        for block in blocks:
            sound.write(block)


def _write_vorbis(blocks: Iterator[Samples], file: BinaryIO) -> None:
    # FFmpeg has no good Vorbis encoder, libsndfile's Ogg files have random serial numbers: one each.
    encoded = io.BytesIO()
    with _sound_file(encoded, "OGG", "VORBIS", compression_level=0.4) as sound:
        for block in blocks:
            sound.write(block)
    encoded.seek(0)
    with av.open(encoded) as source, _container(file, "ogg") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:  # the last, empty one has none
                packet.stream = stream
                target.mux(packet)


def _write_wav_float(blocks: Iterator[Samples], file: BinaryIO) -> None:
    # Not by libsndfile: it writes the time of day into float files (PEAK chunk).
    _write_with_ffmpeg(blocks, file, container_format="wav", codec="pcm_f32le")


def _write_opus(blocks: Iterator[Samples], file: BinaryIO) -> None:
    _write_with_ffmpeg(blocks, file, container_format="ogg", codec="libopus", bit_rate=160_000)


def _write_aac(blocks: Iterator[Samples], file: BinaryIO) -> None:
    _write_with_ffmpeg(blocks, file, container_format="ipod", codec="aac", bit_rate=192_000)


def _write_with_ffmpeg(
    blocks: Iterator[Samples], file: BinaryIO, container_format: str, codec: str, bit_rate: int | None = None
) -> None:
    with _container(file, container_format) as container:
        stream = container.add_stream(codec, rate=SAMPLE_RATE, layout="stereo")
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        if bit_rate:
            stream.bit_rate = bit_rate
        codec_format, frame_size = stream.codec_context.format, stream.frame_size
        to_codec = av.AudioResampler(codec_format, layout="stereo", rate=SAMPLE_RATE, frame_size=frame_size)
        written = 0
        for block in blocks:
            frame = av.AudioFrame.from_ndarray(block.reshape(1, -1), format="flt", layout="stereo")
            frame.sample_rate = SAMPLE_RATE
            frame.pts = written  # without a clock the encoder's delay would not be recorded
            written += len(block)
            for piece in to_codec.resample(frame):
                container.mux(stream.encode(piece))
        for piece in to_codec.resample(None):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


@contextmanager
def _sound_file(
    file: BinaryIO, container: str, subtype: str, **options: object
) -> Iterator[soundfile.SoundFile]:
    with (
        _target(file) as target,
        soundfile.SoundFile(
            target, "w", SAMPLE_RATE, AUDIO_CHANNELS, format=container, subtype=subtype, **options
        ) as sound,
    ):
        yield sound


@contextmanager
def _container(file: BinaryIO, container_format: str) -> Iterator[av.container.OutputContainer]:
    """`bitexact`: without the time of day, the FFmpeg version and random serial numbers."""
    options = {"fflags": "+bitexact"}
    with (
        _target(file) as target,
        av.open(target, "w", format=container_format, container_options=options) as container,
    ):
        yield container


class _Target:
    """The file that an encoder writes to.

    Encoders call it from C, where an exception may be lost: libsndfile prints it and goes on, which leaves a
    hole in the file. So the first exception is kept for `_target`, and nothing is written after it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.failure: Exception | None = None

    def write(self, data: bytes) -> int:
        return self._call(self._file.write, data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._call(self._file.seek, offset, whence)

    def tell(self) -> int:
        return self._call(self._file.tell)

    def _call(self, method: Callable[..., int], *arguments: object) -> int:
        if self.failure is None:
            try:
                return method(*arguments)
            except Exception as error:
                self.failure = error
        return -1


@contextmanager
def _target(file: BinaryIO) -> Iterator[_Target]:
    """Raises at its end what `file` raised, whatever the encoder made of it."""
    target = _Target(file)
    try:
        yield target
    finally:
        if target.failure is not None:
            raise target.failure


_WRITERS: dict[str, Callable[[Iterator[Samples], BinaryIO], None]] = {
    "mp3": _write_mp3,
    "wav": _write_wav,
    "flac": _write_flac,
    "opus": _write_opus,
    "ogg": _write_vorbis,
    "wav32": _write_wav_float,
    "aac": _write_aac,
}
