"""Reading recordings that users send. No torch: the ingress looks at uploads with it.

libsndfile reads what it can; FFmpeg, through PyAV, the rest (mp3, m4a, aac, webm, …). Users' files are
hostile until read: whatever is wrong with one ends in an `AudioFileError` whose text says so to the user.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import numpy.typing as npt
import soundfile

from deployments.domain import AUDIO_CHANNELS

Samples = npt.NDArray[np.float32]
"""[channels, samples], full scale is ±1."""

SILENCE_PEAK = 1e-6
"""A recording that never leaves ±1e-6 is silent: the original model's test."""
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 2_000, 192_000
"""Hz."""
READ_LIMIT = 3_600.0
"""Seconds; a few bytes of a compressed file can claim years of silence, so reading must end somewhere."""

_BLOCK_SAMPLES = 1 << 18
_UNKNOWN_LENGTH = (1 << 63) - 1
"""What libsndfile says of a stream whose header gives no length (SF_COUNT_MAX)."""
_FFMPEG_FORMATS = "aac,ac3,aiff,asf,caf,flac,flv,matroska,mov,mp3,mp4,m4a,mpegts,ogg,wav,webm"
"""Containers that FFmpeg may open. Playlists (hls, dash, concat) are not among them: they would have the
server open files and URLs of the user's choice."""

_COMPRESSED_HEADER = b"dcomzlib"
"""In a QuickTime file: its index is compressed, and FFmpeg unpacks it whole: of 1.4 MB it made 1.5 GB."""
_SCANNED_BYTES = 1 << 20


class AudioFileError(ValueError):
    """The file is no recording that can be used. The message continues a sentence: "the file …"."""


@dataclass(frozen=True)
class AudioInfo:
    """What `probe` found by decoding the whole file; headers lie."""

    seconds: float
    channels: int
    sample_rate: int
    silent: bool
    """The channels that `read` returns never leave ±SILENCE_PEAK."""


@dataclass(frozen=True)
class _Stream:
    channels: int
    sample_rate: int
    blocks: Iterator[Samples]


def probe(file: Path | str | BinaryIO, max_seconds: float = READ_LIMIT) -> AudioInfo:
    """Decode a recording block by block, in a few MB of memory, and say what it is.

    `file` is a local path or a seekable binary file, which stays open.
    Raises AudioFileError for anything but an audible-length recording of at most `max_seconds`.
    """
    with ExitStack() as cleanup:
        stream = _open(file, cleanup)
        count, peak = 0, 0.0
        for block in _checked_blocks(stream, max_seconds):
            count += block.shape[1]
            peak = max(peak, float(np.abs(block).max()))
        return AudioInfo(
            seconds=count / stream.sample_rate,
            channels=stream.channels,
            sample_rate=stream.sample_rate,
            silent=peak < SILENCE_PEAK,
        )


def read(file: Path | str | BinaryIO, max_seconds: float = READ_LIMIT) -> tuple[Samples, int]:
    """The samples [channels, samples] of a recording and its sample rate in Hz.

    Of more than two channels the first two are kept, as the original model does.
    Raises AudioFileError like `probe`.
    """
    with ExitStack() as cleanup:
        stream = _open(file, cleanup)
        return np.concatenate(list(_checked_blocks(stream, max_seconds)), axis=1), stream.sample_rate


def _checked_blocks(stream: _Stream, max_seconds: float) -> Iterator[Samples]:
    """Non-empty blocks [up to two channels, samples], at least one of them."""
    count = 0
    for block in stream.blocks:
        kept = block[:AUDIO_CHANNELS]
        if not np.isfinite(kept).all():
            raise AudioFileError("contains samples that are not finite numbers")
        count += kept.shape[1]
        if count > max_seconds * stream.sample_rate:
            raise AudioFileError(f"is longer than {max_seconds:g} seconds")
        if kept.size:
            yield kept
    if not count:
        raise AudioFileError("contains no audio samples")


def _open(file: Path | str | BinaryIO, cleanup: ExitStack) -> _Stream:
    if isinstance(file, Path | str):
        return _open(cleanup.enter_context(Path(file).open("rb")), cleanup)
    if not file.seek(0, os.SEEK_END):
        raise AudioFileError("is empty")
    file.seek(0)
    stream = _open_with_libsndfile(file, cleanup)
    if stream is None:
        file.seek(0)
        stream = _open_with_ffmpeg(file, cleanup)
    if not MIN_SAMPLE_RATE <= stream.sample_rate <= MAX_SAMPLE_RATE:
        raise AudioFileError(
            f"has a sample rate of {stream.sample_rate} Hz, not {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz"
        )
    return stream


def _open_with_libsndfile(file: BinaryIO, cleanup: ExitStack) -> _Stream | None:
    try:
        sound = cleanup.enter_context(soundfile.SoundFile(file))
    except (soundfile.SoundFileError, TypeError):  # TypeError: a file named *.raw
        return None
    # libsndfile stops at the length it expects. That of an MP3 is a guess where the Xing header is missing,
    # and files written to a pipe give none; FFmpeg decodes both to their end.
    if sound.format == "MP3" or not 0 < sound.frames < _UNKNOWN_LENGTH:
        return None
    return _Stream(sound.channels, sound.samplerate, _libsndfile_blocks(sound))


def _libsndfile_blocks(sound: soundfile.SoundFile) -> Iterator[Samples]:
    frames = max(1, _BLOCK_SAMPLES // sound.channels)
    while True:
        try:
            block: Samples = sound.read(frames, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise AudioFileError("is damaged") from error
        if not len(block):
            return
        yield block.T


def _open_with_ffmpeg(file: BinaryIO, cleanup: ExitStack) -> _Stream:
    if _contains(file, _COMPRESSED_HEADER):
        raise AudioFileError("has a compressed header, which is not supported")
    file.seek(0)
    try:
        # Without a mode, PyAV writes to files that can be written to, such as spooled uploads.
        container = cleanup.enter_context(
            av.open(file, mode="r", metadata_errors="ignore", options={"format_whitelist": _FFMPEG_FORMATS})
        )
    except (av.FFmpegError, ValueError) as error:
        raise AudioFileError("is not audio in a known format") from error
    if not container.streams.audio:
        raise AudioFileError("contains no audio")
    frames = _ffmpeg_frames(container)
    first = next(frames, None)
    if first is None:
        raise AudioFileError("contains no audio that can be decoded")
    return _Stream(first.layout.nb_channels, first.sample_rate, _ffmpeg_blocks(chain([first], frames)))


def _contains(file: BinaryIO, pattern: bytes) -> bool:
    tail = b""
    while block := file.read(_SCANNED_BYTES):
        if pattern in tail + block:
            return True
        tail = block[1 - len(pattern) :]
    return False


def _ffmpeg_frames(container: av.container.InputContainer) -> Iterator[av.AudioFrame]:
    audio = container.streams.audio[0]
    if audio.codec_context is None:  # FFmpeg has no decoder for it
        return
    try:
        for packet in container.demux(audio):
            yield from _decoded(packet)
    except (av.FFmpegError, ValueError, IndexError) as error:  # IndexError: packets of an unannounced stream
        raise AudioFileError("is damaged") from error


def _decoded(packet: av.Packet) -> list[av.AudioFrame]:
    """The frames of a packet; none where it is junk, such as tags after an MP3: players skip it too."""
    try:
        frames: list[av.AudioFrame] = packet.decode()
    except av.InvalidDataError:
        return []
    return frames


def _ffmpeg_blocks(frames: Iterator[av.AudioFrame]) -> Iterator[Samples]:
    planar = av.AudioResampler("fltp")
    first_kind = None
    for frame in frames:
        kind = frame.sample_rate, frame.layout.nb_channels, frame.format.name
        first_kind = first_kind or kind
        if kind != first_kind:
            raise AudioFileError("changes its sample rate or its channels on the way")
        try:
            pieces = planar.resample(frame)
        except (av.FFmpegError, ValueError) as error:
            raise AudioFileError("is damaged") from error
        for piece in pieces:
            yield piece.to_ndarray()
