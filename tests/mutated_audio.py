"""Audio files of all kinds with random changes, and a program that decodes many of them.

`python -m tests.mutated_audio FIRST COUNT` decodes files FIRST to FIRST + COUNT, each in a process as the
server has it, and prints one line of JSON for each: {"number", "status", "report"}.
"""

import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import numpy as np

from configs.settings import RecordingSettings
from deployments.common.stored_recordings import largest_file
from serve_app.recordings.forks import ForkServer
from serve_app.recordings.protocol import Task
from tests.encoded_audio import ffmpeg_file, music, sound_file

MAX_SECONDS = 20.0
TIMEOUT_SECONDS = 600.0

_SOUND_FILES = [
    *(("WAV", subtype) for subtype in ("PCM_16", "FLOAT", "MS_ADPCM", "ULAW")),
    *(("AIFF", "PCM_24"), ("AU", "PCM_16"), ("CAF", "ALAC_16"), ("RF64", "PCM_24"), ("W64", "PCM_16")),
    *(("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")),
]
_FFMPEG_FILES = [
    *(("adts", "aac"), ("ac3", "ac3"), ("asf", "wmav2"), ("eac3", "eac3"), ("flv", "aac"), ("ipod", "aac")),
    *(("ipod", "alac"), ("matroska", "flac"), ("mov", "pcm_s16be"), ("mp2", "mp2"), ("mp4", "libopus")),
    *(("mpegts", "aac"), ("ogg", "flac"), ("wav", "libmp3lame"), ("webm", "libopus")),
]


@cache
def _whole() -> list[bytes]:
    song = music(0.5)
    files = [sound_file(song, *kind) for kind in _SOUND_FILES]
    files += [ffmpeg_file(song, *kind) for kind in _FFMPEG_FILES]
    files += [sound_file(np.tile(song, (3, 1)), "OGG", kind) for kind in ("VORBIS", "OPUS")]
    return [*files, sound_file(song, "OGG", "VORBIS") * 2]


def mutated_file(number: int) -> bytes:
    """Return the file with this number: kinds take turns, and each file is changed once or more often."""
    chance = random.Random(number)
    content = bytearray(_whole()[number % len(_whole())])
    for change in chance.choices(_CHANGES, k=chance.choice((1, 1, 2, 4))):
        change(content, chance)
    return bytes(content)


def _set_bytes(content: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 10, 100))):
        if content:
            content[_offset(content, chance)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))


def _set_number(content: bytearray, chance: random.Random) -> None:
    """Replace four bytes, as of a length or a count, by an extreme value."""
    offset = _offset(content, chance)
    value = chance.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFF0, chance.getrandbits(32)))
    content[offset : offset + 4] = value.to_bytes(4, chance.choice(("little", "big")))


def _cut(content: bytearray, chance: random.Random) -> None:
    del content[_offset(content, chance) :]


def _drop(content: bytearray, chance: random.Random) -> None:
    offset = _offset(content, chance)
    del content[offset : offset + chance.choice((1, 7, 1_000))]


def _double(content: bytearray, chance: random.Random) -> None:
    offset = _offset(content, chance)
    content[offset:offset] = content[offset : offset + chance.choice((4, 100, 5_000))]


def _offset(content: bytearray, chance: random.Random) -> int:
    """Return an offset for a change. Half of them are in the headers."""
    end = max(1, len(content))
    return chance.randrange(min(end, chance.choice((64, 600, end, end))))


_CHANGES: list[Callable[[bytearray, random.Random], None]] = [_set_bytes, _set_number, _cut, _drop, _double]


def outcomes(first: int, count: int) -> Iterator[dict[str, object]]:
    settings = RecordingSettings()
    task = Task(
        max_seconds=MAX_SECONDS,
        memory_bytes=settings.memory_bytes,
        cpu_seconds=settings.cpu_seconds,
        file_bytes=largest_file(MAX_SECONDS),
    )
    server = ForkServer()
    for number in range(first, first + count):
        with ExitStack() as cleanup:
            recording, output, report = (cleanup.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            recording.write(mutated_file(number))
            recording.flush()
            status = server.fork(task, recording, output, report).status(TIMEOUT_SECONDS)
            report.seek(0)
            lines = [json.loads(line) for line in report.read().splitlines()]
            yield {"number": number, "status": status, "report": lines}


if __name__ == "__main__":
    for outcome in outcomes(int(sys.argv[1]), int(sys.argv[2])):
        print(json.dumps(outcome), flush=True)
