"""Small files that claim or expand to enormous sizes, and the answer that each should get."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import soundfile

from tests.audio import chord
from tests.ogg_pages import pages, with_checksum

RATE = 8_000


@dataclass(frozen=True)
class HostileFile:
    """`says` is part of the refusal.

    It is empty when the file holds a second of sound, whatever it claims.
    """

    name: str
    build: Callable[[], bytes]
    says: str

    @cached_property
    def content(self) -> bytes:
        """The file. It is built when it is sent, because collecting the tests needs the names alone."""
        return self.build()


@cache
def hostile_files() -> list[HostileFile]:
    """Return the files. They are not stored, because some are only a few KB when compressed."""
    second = chord(1.0, RATE)
    return [
        HostileFile("wav of 1 s that claims 4 GB", lambda: _wav(_pcm(second), 2**32 - 64), ""),
        HostileFile("wav without sound that claims 4 GB", lambda: _wav(b"", 2**32 - 64), "no audio"),
        HostileFile(
            "wav of 65,535 channels", lambda: _wav(bytes(2_000), 2_000, channels=65_535), "src_audio"
        ),
        HostileFile("wav of 4 GHz", lambda: _wav(_pcm(second), 32_000, rate=2**32 - 1), "src_audio"),
        HostileFile("wav of 0 Hz", lambda: _wav(_pcm(second), 32_000, rate=0), "src_audio"),
        HostileFile(
            "flac of 30 min of silence", lambda: _silence("FLAC", "PCM_16", 2_000, 1_800), "longer than"
        ),
        HostileFile(
            "ogg of 30 min of silence", lambda: _silence("OGG", "VORBIS", 2_000, 1_800), "longer than"
        ),
        HostileFile("flac of 1 s that claims 100 days", lambda: _flac_claiming(second, 2**36 - 1), ""),
        HostileFile("mov with a packed index of 300 MB", lambda: packed_movie(300_000_000), "src_audio"),
        HostileFile("mov with a packed index of 1.5 GB", lambda: packed_movie(1_500_000_000), "src_audio"),
        HostileFile("mp3 with a packed tag of 250 MB", lambda: _packed_tag(250_000_000), "src_audio"),
        HostileFile(
            "mp4 with an index of 40 million samples", lambda: _indexed_movie(40_000_000), "src_audio"
        ),
        HostileFile("ogg of 64 channels", lambda: _channels(64), "at most 8"),
        HostileFile(
            "flac of 150 s at 192 kHz", lambda: _silence("FLAC", "PCM_16", 192_000, 150), "longer than"
        ),
        HostileFile("ogg of 100,000 first pages", lambda: _first_pages(100_000), "src_audio"),
        HostileFile("ogg of 20,000 links without sound", lambda: _empty_links(20_000), "src_audio"),
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


def _silence(container: str, subtype: str, rate: int, seconds: int) -> bytes:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, 1, format=container, subtype=subtype) as sound:
        second = np.zeros(rate, np.float32)
        for _ in range(seconds):
            sound.write(second)
    return file.getvalue()


def _channels(count: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.full((RATE, count), 0.1, np.float32), RATE, format="OGG", subtype="VORBIS")
    return file.getvalue()


def _first_pages(count: int) -> bytes:
    return with_checksum(b"OggS\0\2" + bytes(20) + b"\1\1x") * count


def _empty_links(count: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, chord(0.1, RATE), RATE, format="OGG", subtype="VORBIS")
    first, *_ = pages(file.getvalue())
    return (first + with_checksum(b"OggS" + bytes(22) + b"\1\1x")) * count


def _flac_claiming(samples: np.ndarray, sample_count: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="FLAC")
    content = bytearray(file.getvalue())
    # STREAMINFO begins at byte 8. Its sample count is the low 36 bits of bytes 13 to 17 of the block.
    field = int.from_bytes(content[21:26], "big")
    content[21:26] = (field >> 36 << 36 | sample_count).to_bytes(5, "big")
    return bytes(content)


def _zeros(count: int) -> bytes:
    """Return this many zero bytes as a zlib stream (RFC 1950).

    The stream repeats one compressed block, because compressing gigabytes takes seconds. Its checksum is that
    of `count` zeros (RFC 1950, section 8.2).
    """
    block = bytes(1 << 20)
    whole, rest = divmod(count, len(block))
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    repeated = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    end = packer.compress(bytes(rest)) + packer.flush()
    return b"\x78\xda" + whole * repeated + end + struct.pack(">HH", count % 65_521, 1)


def _atom(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def packed_movie(size: int) -> bytes:
    packed = _atom(b"cmvd", struct.pack(">I", size) + _zeros(size))
    index = _atom(b"moov", _atom(b"cmov", _atom(b"dcom", b"zlib"), packed))
    return _atom(b"ftyp", b"qt  \0\0\0\0qt  ") + index


def _indexed_movie(samples: int) -> bytes:
    """Return a movie whose small sample table claims this many samples of one byte, all in one chunk."""

    def table(kind: bytes, *numbers: int) -> bytes:
        return _atom(kind, struct.pack(f">{len(numbers) + 1}I", 0, *numbers))

    sound = bytes(6) + struct.pack(">HHIHHHHI", 1, 0, 0, 1, 16, 0, 0, RATE << 16)
    sample_table = _atom(
        b"stbl",
        _atom(b"stsd", struct.pack(">II", 0, 1), _atom(b"mp4a", sound)),
        table(b"stts", 1, samples, 1_024),
        table(b"stsc", 1, 1, samples, 1),
        table(b"stsz", 1, samples),
        table(b"stco", 1, 600),
    )
    media = _atom(
        b"mdia",
        _atom(b"mdhd", struct.pack(">IIIIII", 0, 0, 0, RATE, samples, 0)),
        _atom(b"hdlr", bytes(8) + b"soun" + bytes(13)),
        _atom(b"minf", _atom(b"smhd", bytes(8)), sample_table),
    )
    header = struct.pack(">IIIII", 0, 0, 0, 1_000, samples // 8) + bytes(80)
    movie = _atom(b"moov", _atom(b"mvhd", header), _atom(b"trak", media))
    return _atom(b"ftyp", b"isom\0\0\2\0isom") + movie + _atom(b"mdat", bytes(100))


def _packed_tag(size: int) -> bytes:
    packed = struct.pack(">I", size) + _zeros(size)
    frame = b"TIT2" + struct.pack(">I", len(packed)) + b"\0\x80" + packed
    length = bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + length + frame + bytes(1_000)
