"""Requests for songs of one or two seconds of every kind, their results, and how two songs differ."""

import io
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

if TYPE_CHECKING:
    from tests.chaos.site import Site

KEYS = ("C Major", "A Minor", "F♯ Minor", "Bb Major")
METRES = ("4/4", "3/4", "6/8")
FORMATS = ("wav", "wav", "flac", "mp3")
LSB = 2**-15
TOLERANCE = 2 * LSB


def songs(count: int) -> list[dict[str, Any]]:
    """Return the same requests every time.

    They leave nothing random, so each has exactly one right result.
    """
    chance = random.Random(7)
    return [
        {
            "caption": f"song {index}",
            "lyrics": chance.choice(["", "[Verse]\nHello world, we are singing"]),
            "thinking": chance.random() < 0.6,
            "audio_duration": chance.choice([1.0, 1.5, 2.0]),
            "batch_size": chance.choice([1, 1, 2]),
            "audio_format": FORMATS[index % len(FORMATS)],
            "bpm": chance.randrange(60, 180),
            "key_scale": chance.choice(KEYS),
            "time_signature": chance.choice(METRES),
            "use_random_seed": False,
            "seed": 1000 + index,
        }
        for index in range(count)
    ]


@dataclass(frozen=True)
class Song:
    """The result of one job."""

    codes: list[str | None]
    files: list[bytes]

    @classmethod
    def of(cls, site: "Site", result: dict[str, Any]) -> "Song":
        files = [site.ask("GET", path).raise_for_status().content for path in result["audio_paths"]]
        return cls(result["audio_codes"], files)

    def differences(self, other: "Song") -> list[str]:
        """Return the ways in which this song is not the same music as `other`."""
        found = []
        if self.codes != other.codes:
            found.append("other codes")
        for item, (mine, theirs) in enumerate(zip(self.files, other.files, strict=True)):
            a, b = _samples(mine), _samples(theirs)
            if a.shape != b.shape:
                found.append(f"item {item}: {a.shape} samples instead of {b.shape}")
                continue
            distance = float(np.abs(a - b).max())
            if distance > TOLERANCE:
                found.append(f"item {item}: samples differ by {distance / LSB:.1f} LSB")
        return found


def _samples(file: bytes) -> Any:
    samples, _ = soundfile.read(io.BytesIO(file), dtype="float64")
    return samples
