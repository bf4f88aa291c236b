"""Writing finished songs. In every format the same samples and tags give the same bytes.

Files in wav, wav32 and flac have exactly the given number of samples. So have mp3, opus and ogg after the
decoder has removed the encoder's delay; aac differs by less than one frame of 1,024 samples.
"""

import io
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, BinaryIO

import av
import numpy as np
import numpy.typing as npt
import soundfile

from configs.domain import AUDIO_CHANNELS, SAMPLE_RATE
from deployments.codec.files.tags import Tags, id3, mp4_atoms, riff_chunks, vorbis_comments, xmp_box
from deployments.common.stored_recordings import Samples

_BLOCK = 1 << 16
"""Samples per channel that are written between two reports."""

Report = Callable[[int], None]
"""Called with the number of samples written so far; an exception that it raises ends the writing."""


def write(
    samples: Samples,
    audio_format: str,
    file: BinaryIO,
    report: Report = lambda _: None,
    tags: Tags | None = None,
) -> None:
    """Write `samples` [2, n] at 48 kHz to a seekable binary file, in one of `audio_formats.FORMATS`.

    The file has the tags, if there are any. Raises ValueError for another shape, and whatever `file` or
    `report` raises.
    """
    if samples.ndim != 2 or samples.shape[0] != AUDIO_CHANNELS or not samples.shape[1]:
        raise ValueError(f"expected samples [{AUDIO_CHANNELS}, n], got {list(samples.shape)}")
    _WRITERS[audio_format](_reported_blocks(samples, report), file, tags)


def _reported_blocks(samples: Samples, report: Report) -> Iterator[Samples]:
    """Yield blocks [samples, 2], and report each one after it was used."""
    for start in range(0, samples.shape[1], _BLOCK):
        block = samples[:, start : start + _BLOCK]
        yield np.ascontiguousarray(block.T)
        report(start + block.shape[1])


def _pcm(block: Samples, bits: int) -> npt.NDArray[np.int32]:
    """Samples rounded to `bits` bits, in the upper bits of int32.

    Samples that were read from a file of that depth are written unchanged. libsndfile's own conversion
    truncates, which would change a 16-bit source by one step.
    """
    full_scale = 1 << (bits - 1)
    steps = np.rint(block.astype(np.float64) * full_scale).clip(-full_scale, full_scale - 1)
    return steps.astype(np.int32) << (32 - bits)


def _write_wav(blocks: Iterator[Samples], file: BinaryIO, tags: Tags | None) -> None:
    with _sound_file(file, "WAV", "PCM_16") as sound:
        for block in blocks:
            sound.write(_pcm(block, 16))
    _append_chunks(file, tags)


def _write_flac(blocks: Iterator[Samples], file: BinaryIO, tags: Tags | None) -> None:
    # FFmpeg, because libsndfile has only a few names for comments. It takes the upper 24 of 32 bits.
    pcm = (_pcm(block, 24) for block in blocks)
    comments = vorbis_comments(tags) if tags else {}
    _write_with_ffmpeg(pcm, file, container_format="flac", codec="flac", samples_as="s32", metadata=comments)


def _write_mp3(blocks: Iterator[Samples], file: BinaryIO, tags: Tags | None) -> None:
    start = file.write(id3(tags)) if tags else 0
    # libsndfile maps the compression levels from 0 to 1 to bit rates from 320 down to 32 kbit/s.
    level = (320 - 192) / (320 - 32)
    options = {"bitrate_mode": "CONSTANT", "compression_level": level}
    with _sound_file(file, "MP3", "MPEG_LAYER_III", start, **options) as sound:
        for block in blocks:
            sound.write(block)


def _write_vorbis(blocks: Iterator[Samples], file: BinaryIO, tags: Tags | None) -> None:
    # libsndfile encodes, because FFmpeg has no good Vorbis encoder. FFmpeg writes the Ogg container, because
    # libsndfile gives it a random serial number.
    encoded = io.BytesIO()
    with _sound_file(encoded, "OGG", "VORBIS", compression_level=0.4) as sound:
        for block in blocks:
            sound.write(block)
    encoded.seek(0)
    comments = vorbis_comments(tags) if tags else {}
    with av.open(encoded) as source, _container(file, "ogg", comments) as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:  # the last packet is empty and has none
                packet.stream = stream
                target.mux(packet)


def _write_wav_float(blocks: Iterator[Samples], file: BinaryIO, tags: Tags | None) -> None:
    # FFmpeg, because libsndfile writes the time of day into float files (PEAK chunk).
    _write_with_ffmpeg(blocks, file, container_format="wav", codec="pcm_f32le")
    _append_chunks(file, tags)


def _write_opus(blocks: Iterator[Samples], file: BinaryIO, tags: Tags | None) -> None:
    comments = vorbis_comments(tags) if tags else {}
    _write_with_ffmpeg(
        blocks, file, container_format="ogg", codec="libopus", bit_rate=160_000, metadata=comments
    )


def _write_aac(blocks: Iterator[Samples], file: BinaryIO, tags: Tags | None) -> None:
    atoms = mp4_atoms(tags) if tags else {}
    _write_with_ffmpeg(blocks, file, container_format="ipod", codec="aac", bit_rate=192_000, metadata=atoms)
    if tags:
        file.seek(0, os.SEEK_END)
        file.write(xmp_box(tags))


def _append_chunks(file: BinaryIO, tags: Tags | None) -> None:
    """Put the tags behind the samples of a wav file, and the new length into its head."""
    if tags:
        file.seek(0, os.SEEK_END)
        file.write(riff_chunks(tags))
        length = file.tell()
        file.seek(4)
        file.write(struct.pack("<I", length - 8))


def _write_with_ffmpeg(
    blocks: Iterator[npt.NDArray[Any]],
    file: BinaryIO,
    container_format: str,
    codec: str,
    bit_rate: int | None = None,
    samples_as: str = "flt",
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Encode `blocks` [samples, 2], whose type FFmpeg calls `samples_as`."""
    with _container(file, container_format, metadata) as container:
        stream = container.add_stream(codec, rate=SAMPLE_RATE, layout="stereo")
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        if bit_rate:
            stream.bit_rate = bit_rate
        if samples_as != "flt":
            stream.codec_context.format = samples_as  # otherwise FFmpeg's flac has 16 bits
        codec_format, frame_size = stream.codec_context.format, stream.frame_size
        to_codec = av.AudioResampler(codec_format, layout="stereo", rate=SAMPLE_RATE, frame_size=frame_size)
        written = 0
        for block in blocks:
            frame = av.AudioFrame.from_ndarray(block.reshape(1, -1), format=samples_as, layout="stereo")
            frame.sample_rate = SAMPLE_RATE
            frame.pts = written  # without timestamps the encoder's delay would not be recorded
            written += len(block)
            for piece in to_codec.resample(frame):
                container.mux(stream.encode(piece))
        for piece in to_codec.resample(None):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


@contextmanager
def _sound_file(
    file: BinaryIO, container: str, subtype: str, start: int = 0, **options: object
) -> Iterator[soundfile.SoundFile]:
    """An encoder that writes into `file` from the byte `start` on."""
    with (
        _target(file, start) as target,
        soundfile.SoundFile(
            target, "w", SAMPLE_RATE, AUDIO_CHANNELS, format=container, subtype=subtype, **options
        ) as sound,
    ):
        yield sound


@contextmanager
def _container(
    file: BinaryIO, container_format: str, metadata: Mapping[str, str]
) -> Iterator[av.container.OutputContainer]:
    """An open container, without the time of day, FFmpeg's version and random serial numbers (`bitexact`)."""
    options = {"fflags": "+bitexact", "metadata_header_padding": "0"}
    with (
        _target(file) as target,
        av.open(target, "w", format=container_format, container_options=options) as container,
    ):
        container.metadata.update(metadata)
        yield container


class _Target:
    """The file that an encoder writes to.

    Encoders call it from C, where an exception may be lost: libsndfile prints it and goes on, which leaves a
    gap in the file. So the first exception is kept for `_target`, and nothing is written after it.
    """

    def __init__(self, file: BinaryIO, start: int) -> None:
        """The byte `start` of `file` is the first one for the encoder."""
        self._file = file
        self._start = start
        self.failure: Exception | None = None

    def write(self, data: bytes) -> int:
        return self._call(self._file.write, data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET:
            offset += self._start
        return self._counted(self._call(self._file.seek, offset, whence))

    def tell(self) -> int:
        return self._counted(self._call(self._file.tell))

    def _counted(self, position: int) -> int:
        return position if position < 0 else position - self._start

    def _call(self, method: Callable[..., int], *arguments: object) -> int:
        if self.failure is None:
            try:
                return method(*arguments)
            except Exception as error:
                self.failure = error
        return -1


@contextmanager
def _target(file: BinaryIO, start: int = 0) -> Iterator[_Target]:
    """Wrap `file` for an encoder; at the end of the block, raise what `file` raised, if anything."""
    target = _Target(file, start)
    try:
        yield target
    finally:
        if target.failure is not None:
            raise target.failure


_WRITERS: dict[str, Callable[[Iterator[Samples], BinaryIO, Tags | None], None]] = {
    "mp3": _write_mp3,
    "wav": _write_wav,
    "flac": _write_flac,
    "opus": _write_opus,
    "ogg": _write_vorbis,
    "wav32": _write_wav_float,
    "aac": _write_aac,
}
