"""Decoding of a part of a file to stereo blocks with FFmpeg (PyAV). It runs only in the limited process.

Everything that can be decoded is used: a damaged packet is skipped, and a truncated file ends at the
truncation.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import av

# PyAV imports these lazily, but once the process is limited it cannot load modules.
import av.subtitles.codeccontext
import av.subtitles.stream
import numpy as np
from av.audio.plane import AudioPlane

from deployments.common.stored_recordings import Samples
from serve_app.recordings.downmix import MAX_CHANNELS, stereo
from serve_app.recordings.errors import RecordingError
from serve_app.recordings.parts import FilePart

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 2_000, 192_000
"""Hz."""

# fmt: off
CONTAINERS = (
    "aac", "ac3", "aiff", "asf", "au", "caf", "eac3", "flac", "flv", "matroska", "mov", "mp3", "mpegts",
    "ogg", "w64", "wav",
)
"""FFmpeg's demuxers that may open a file: mov is also mp4 and m4a, matroska also webm, asf also wma, and wav
also RF64. Playlists (hls, dash, concat) are not among them: they open files and URLs of the user's choice."""
CODECS = (
    "aac", "ac3", "adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "alac", "eac3", "flac", "mp1", "mp1float",
    "mp2", "mp2float", "mp3", "mp3float", "opus", "vorbis", "wmapro", "wmav1", "wmav2",
    "pcm_alaw", "pcm_mulaw", "pcm_s8", "pcm_u8",
    "pcm_f32be", "pcm_f32le", "pcm_f64be", "pcm_f64le",
    "pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le", "pcm_s32be", "pcm_s32le",
)
"""FFmpeg's decoders that may be used."""
# fmt: on

_MAX_STREAMS = 64
"""Streams of a container. Films have a dozen or two."""
_OPTIONS = {
    "format_whitelist": ",".join(CONTAINERS),
    "codec_whitelist": ",".join(CODECS),
    "max_streams": str(_MAX_STREAMS),
}
_NUMPY_TYPES: dict[str, Any] = {"u8": "u1", "s16": "i2", "s32": "i4", "flt": "f4", "dbl": "f8"}
"""NumPy type by FFmpeg's sample format, without the "p" of planar formats."""
_FULL_SCALE = {"u8": 1 << 7, "s16": 1 << 15, "s32": 1 << 31}
"""The magnitude that stands for 1.0, by integer sample format."""


@dataclass(frozen=True)
class Block:
    """Some consecutive samples of a recording."""

    samples: Samples
    """[2, n]."""
    sample_rate: int
    """Hz. It may change within a file."""
    downmixed: bool
    """Whether it was mixed from more than two channels."""


@dataclass
class Packets:
    """How many packets of a recording there were, and how many could not be decoded."""

    seen: int = 0
    lost: int = 0


def blocks(part: FilePart, packets: Packets) -> Iterator[Block]:
    """Decode a part to its end, and count its packets. Raises RecordingError and MemoryError."""
    if not len(part):
        raise RecordingError("is empty")
    with ExitStack() as cleanup:
        container = _opened(part, cleanup)
        audio = _audio(container)
        frames = _frames(container, audio, packets)
        yield from _to_the_sample(frames, container.format.name, audio.codec_context, part.granule)


def _to_the_sample(
    frames: Iterator[av.AudioFrame], container: str, codec: av.AudioCodecContext, granule: int | None
) -> Iterator[Block]:
    """The blocks of all frames without encoder padding.

    FFmpeg removes the encoder's delay and padding by itself, except in the three kinds of files handled here.
    """
    if "mov" in container.split(","):
        return _without_padding(frames)
    if (container, codec.name) == ("caf", "alac"):
        # The last frame has the right length already, and FFmpeg would trim it again.
        codec.flags2 |= av.codec.context.Flags2.skip_manual
    if granule is not None and codec.name == "vorbis":
        # FFmpeg would trim too much where all sound is on one page. Without trimming, the first frame is not
        # sound but the first half of an overlapping pair.
        codec.flags2 |= av.codec.context.Flags2.skip_manual
        next(frames, None)
        return _cut(map(_block, frames), granule)
    return map(_block, frames)


def _opened(part: FilePart, cleanup: ExitStack) -> av.container.InputContainer:
    try:
        return cleanup.enter_context(av.open(part, mode="r", metadata_errors="ignore", options=_OPTIONS))
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise RecordingError("is not audio in a known format") from error


def _audio(container: av.container.InputContainer) -> av.AudioStream:
    if not container.streams.audio:
        raise RecordingError("contains no audio")
    audio = container.streams.audio[0]
    codec = audio.codec_context
    if codec is None:
        raise RecordingError("contains no audio that can be decoded")
    if codec.codec.name not in CODECS:
        raise RecordingError(f"is encoded as {codec.codec.name}, which is not read")
    codec.thread_count = 1
    return audio


def _frames(
    container: av.container.InputContainer, audio: av.AudioStream, packets: Packets
) -> Iterator[av.AudioFrame]:
    try:
        for packet in container.demux(audio):
            packets.seen += 1
            try:
                yield from packet.decode()
            except MemoryError:
                raise
            except av.FFmpegError:  # not audio, such as tags after an MP3, which players skip too
                packets.lost += 1
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError, IndexError):  # IndexError: packets of an unannounced stream
        packets.lost += 1


def _without_padding(frames: Iterator[av.AudioFrame]) -> Iterator[Block]:
    """All blocks of an mp4 file. The last one is cut to the duration that the file states."""
    last = None
    for frame in frames:
        if last is not None:
            yield _block(last)
        last = frame
    if last is not None:
        length = round((last.duration or 0) * last.time_base * last.sample_rate)
        yield from _cut(iter([_block(last)]), length or last.samples)


def _cut(stream: Iterator[Block], length: int) -> Iterator[Block]:
    """The first `length` samples of a stream."""
    for block in stream:
        samples = block.samples[:, :length]
        length -= samples.shape[1]
        yield replace(block, samples=samples)


def _block(frame: av.AudioFrame) -> Block:
    if not MIN_SAMPLE_RATE <= frame.sample_rate <= MAX_SAMPLE_RATE:
        raise RecordingError(
            f"has a sample rate of {frame.sample_rate} Hz, not {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz"
        )
    names = tuple(channel.name for channel in frame.layout.channels)
    if not 1 <= len(names) <= MAX_CHANNELS:
        raise RecordingError(
            f"has {len(names)} channels, and at most {MAX_CHANNELS} are read: mix it down to stereo first"
        )
    return Block(stereo(_samples(frame, len(names)), names), frame.sample_rate, len(names) > 2)


def _samples(frame: av.AudioFrame, channels: int) -> Samples:
    """[channels, n], float32, full scale is ±1."""
    kind, planar = frame.format.name.removesuffix("p"), frame.format.is_planar
    count, planes = (frame.samples, channels) if planar else (frame.samples * channels, 1)
    # `to_ndarray` and `planes` are not used: they count planes by pointers, and miscount with eight channels.
    buffers: list[Any] = [AudioPlane(frame, plane) for plane in range(planes)]
    stored = [np.frombuffer(buffer, _NUMPY_TYPES[kind], count) for buffer in buffers]
    values = np.stack(stored) if planar else stored[0].reshape(-1, channels).T
    samples: Samples = values.astype(np.float32)
    if kind == "u8":
        samples -= _FULL_SCALE[kind]
    if kind in _FULL_SCALE:
        samples /= _FULL_SCALE[kind]
    return samples
