"""Small files that claim, or would become, something enormous; and what a server should say of each."""

import io
import struct
import zlib
from dataclasses import dataclass
from functools import cache

import numpy as np
import soundfile

from tests.audio import chord

MINUTES = 30
RATE = 8_000
UNPACKED_BYTES = 300_000_000


@dataclass(frozen=True)
class HostileFile:
    """`says` is a part of the refusal; empty where the file holds a second of sound, whatever it claims."""

    name: str
    content: bytes
    says: str


@cache
def hostile_files() -> list[HostileFile]:
    """Made, not stored: some are a few KB only because they are compressed."""
    second = chord(1.0, RATE)
    return [
        HostileFile("wav of 1 s that claims 4 GB", _wav(_pcm(second), 2**32 - 64), ""),
        HostileFile("wav without sound that claims 4 GB", _wav(b"", 2**32 - 64), "no audio"),
        HostileFile("wav of 65,535 channels", _wav(bytes(2_000), 2_000, channels=65_535), "src_audio"),
        HostileFile("wav of 4 GHz", _wav(_pcm(second), 32_000, rate=2**32 - 1), "src_audio"),
        HostileFile("wav of 0 Hz", _wav(_pcm(second), 32_000, rate=0), "src_audio"),
        HostileFile(f"flac of {MINUTES} min of silence", _silence("FLAC", "PCM_16"), "longer than"),
        HostileFile(f"ogg of {MINUTES} min of silence", _silence("OGG", "VORBIS"), "longer than"),
        HostileFile("flac of 1 s that claims 100 days", _flac_claiming(second, 2**36 - 1), "src_audio"),
        HostileFile("mov with a packed index of 300 MB", _packed_movie(), "compressed header"),
        HostileFile("mp3 with a packed tag of 250 MB", _packed_tag(250_000_000), "src_audio"),
    ]


def _pcm(samples: np.ndarray) -> bytes:
    return (samples * 32_767).astype("<i2").tobytes()


def _wav(content: bytes, claimed: int, channels: int = 2, rate: int = RATE) -> bytes:
    block = 2 * channels
    layout = struct.pack(
        "<HHIIHH", 1, channels, rate, min(rate * block, 2**32 - 1), min(block, 2**16 - 1), 16
    )
    head = b"WAVEfmt " + struct.pack("<I", len(layout)) + layout + b"data" + struct.pack("<I", claimed)
    return b"RIFF" + struct.pack("<I", min(claimed + 36, 2**32 - 1)) + head + content


def _silence(container: str, subtype: str) -> bytes:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 2_000, 1, format=container, subtype=subtype) as sound:
        minute = np.zeros(60 * 2_000, np.float32)
        for _ in range(MINUTES):
            sound.write(minute)
    return file.getvalue()


def _flac_claiming(samples: np.ndarray, sample_count: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="FLAC")
    content = bytearray(file.getvalue())
    # STREAMINFO begins at byte 8; its sample count is the low 36 bits of bytes 13 to 17 of the block.
    field = int.from_bytes(content[21:26], "big")
    content[21:26] = (field >> 36 << 36 | sample_count).to_bytes(5, "big")
    return bytes(content)


def _zeros(count: int) -> bytes:
    packer = zlib.compressobj(1)
    block = bytes(1 << 20)
    whole, rest = divmod(count, len(block))
    return b"".join(
        [*(packer.compress(block) for _ in range(whole)), packer.compress(bytes(rest)), packer.flush()]
    )


def _packed_movie() -> bytes:
    def atom(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(content), kind) + content

    packed = atom(b"cmvd", struct.pack(">I", UNPACKED_BYTES) + _zeros(UNPACKED_BYTES))
    index = atom(b"moov", atom(b"cmov", atom(b"dcom", b"zlib") + packed))
    return atom(b"ftyp", b"qt  \0\0\0\0qt  ") + index


def _packed_tag(size: int) -> bytes:
    packed = struct.pack(">I", size) + _zeros(size)
    frame = b"TIT2" + struct.pack(">I", len(packed)) + b"\0\x80" + packed
    length = bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + length + frame + bytes(1_000)
