"""Draws what the clients ask for and when. The same seed gives the same requests."""

import random
from collections.abc import Sequence

from benchmarks.peers.song_request import SongRequest
from benchmarks.words import lyrics, words

FORMATS = ("mp3", "wav", "flac")
KEYS = ("C Major", "A minor", "F# minor", "Bb Major")
TIME_SIGNATURES = ("4/4", "3/4", "6/8")
MAX_BATCH = 2


def song(
    chance: random.Random, durations: tuple[int, int], thinking_share: float, batch_size: int | None = None
) -> SongRequest:
    """Return one request with words of its own.

    Its duration is whole seconds, which the peers' pipeline always supports.
    """
    return SongRequest(
        caption=words(chance, 10),
        lyrics=_lyrics(chance),
        audio_duration=chance.randint(*durations),
        bpm=chance.randint(60, 160),
        key_scale=chance.choice(KEYS),
        time_signature=chance.choice(TIME_SIGNATURES),
        thinking=chance.random() < thinking_share,
        batch_size=batch_size or chance.randint(1, MAX_BATCH),
        seed=chance.randrange(2**31),
        audio_format=chance.choice(FORMATS),
    )


def _lyrics(chance: random.Random) -> str:
    return f"[Verse]\n{lyrics(chance)}"


def songs(
    count: int, durations: tuple[int, int], seed: int, thinking_share: float = 1.0
) -> list[SongRequest]:
    """Return requests of mixed durations (seconds, both ends included), formats and batch sizes."""
    chance = random.Random(seed)
    return [song(chance, durations, thinking_share) for _ in range(count)]


def reworded(requests: Sequence[SongRequest], seed: int) -> list[SongRequest]:
    """Return the same requests with other words, which are in no cache."""
    chance = random.Random(seed)
    return [
        request.model_copy(update={"caption": words(chance, 10), "lyrics": _lyrics(chance)})
        for request in requests
    ]


def one_song(duration: int, seed: int) -> SongRequest:
    """Return a job of one song of this length, with `thinking`."""
    return song(random.Random(seed), (duration, duration), 1.0, batch_size=1)


def warm_up(durations: tuple[int, int]) -> SongRequest:
    """Return the first job of every server. It asks for a wav file, so that samples can be compared."""
    return one_song(durations[0], seed=0).model_copy(update={"audio_format": "wav"})


def poisson_arrivals(rate: float, count: int, seed: int) -> list[float]:
    """Return the seconds from the start at which `count` requests arrive, at a mean of `rate` a second."""
    chance = random.Random(seed)
    times: list[float] = []
    for _ in range(count):
        times.append((times[-1] if times else 0.0) + chance.expovariate(rate))
    return times


def audio_seconds(requests: Sequence[SongRequest]) -> int:
    """Return the seconds of audio of all songs of the requests."""
    return sum(request.audio_seconds for request in requests)
