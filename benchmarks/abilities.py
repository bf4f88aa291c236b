"""Measures what songs keep of the recordings they are made from, and what a server's language model plans.

    python -m benchmarks.abilities --url http://127.0.0.1:8001

The benchmark sends recordings to a running server's HTTP API. The training recipe renders them, and none of
them was used in training. The server covers them (with another instrument, and without a given tempo or key),
repaints their middle (with a given tempo and key, and without), and uses them as timbre references. Each
table also shows chance, which is the score of the same songs against the other recordings. Songs that the
server made are sent back to it for their audio codes. At the end the benchmark asks for songs of each genre
by caption alone and shows the tempi and keys that the language model chooses. It needs the extra `training`.
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.adherence import SECONDS, Answer, Request, is_near, listen, requests
from benchmarks.listening.features import features
from benchmarks.listening.probe import mono
from benchmarks.listening.tempo import is_tempo
from benchmarks.measuring import Table, show, write_json
from benchmarks.song_server import Order, Samples, Song, results, songs
from configs.domain import CODE_TOKEN, INSTRUMENTAL, SAMPLE_RATE
from training.songs.captions import caption
from training.songs.description import describe
from training.songs.genres import FAMILIES, GENRES
from training.songs.song import Purpose, generator

WINDOW_SECONDS = 7
"""Seconds that are repainted in the middle of each recording. The beat tracker needs about this length."""
REPAINTED_SECONDS = (SECONDS, 20)
"""Lengths of the recordings in seconds. They leave 1.5 and 6.5 s on either side of the window."""
SONGS_OF_A_GENRE = 10
_PLANNED = 10_000
"""Number of the first caption that the language model plans for. The other requests have lower numbers."""

Row = dict[str, Any]


def cover(asked: Request, source: Samples) -> Order:
    """Return an order for a cover with another leading instrument.

    Only the recording tells its tempo and key.
    """
    lead = FAMILIES[(FAMILIES.index(asked.description.lead) + 3) % len(FAMILIES)]
    text = caption(replace(asked.description, lead=lead), generator(Purpose.EVALUATION, asked.number))
    return _order(asked, {"task_type": "cover", "caption": text}, src_audio=source)


def repaint(asked: Request, source: Samples) -> Order:
    """Return an order that repaints the middle from the same caption, without a given tempo and key."""
    window = _window(source)
    start, end = window.start / SAMPLE_RATE, window.stop / SAMPLE_RATE
    wishes = {"task_type": "repaint", "repainting_start": start, "repainting_end": end}
    return _order(asked, {**wishes, "caption": asked.caption}, src_audio=source)


def repaint_told(asked: Request, source: Samples) -> Order:
    """Return an order that repaints the middle with a given tempo, key and time signature.

    A client can take them from the result of an earlier job.
    """
    order = repaint(asked, source)
    return replace(order, body={**asked.body(), **order.body})


def _order(asked: Request, wishes: Row, **recordings: Samples) -> Order:
    body = {"lyrics": INSTRUMENTAL, "thinking": False, "use_random_seed": False, "seed": asked.number}
    return Order({**body, **wishes}, recordings)


def kept(name: str, answers: Sequence[Answer], sources: Sequence[Answer]) -> list[Row]:
    """Return the percentages of songs that keep tempo and key of their own recording, and of others."""
    matching = list(zip(answers, sources, strict=True))
    crossed = [
        (answer, source)
        for i, answer in enumerate(answers)
        for other, source in enumerate(sources)
        if i != other
    ]
    return [{"songs": name, **_shares(matching)}, {"songs": f"chance, {name}", **_shares(crossed)}]


def _shares(pairs: Sequence[tuple[Answer, Answer]]) -> Row:
    found = [
        (is_tempo(answer.tempo, source.tempo), is_near(answer.heard.key, source.heard.key))
        for answer, source in pairs
    ]
    tempo, key = 100 * np.mean(found, axis=0)
    return {"tempo": float(tempo), "key": float(key)}


def repainted(made: Sequence[Samples], recordings: Sequence[Samples]) -> Row:
    """Return how far songs are from their recordings, relative to the level of the recordings."""
    differences = [song - recording for song, recording in zip(made, recordings, strict=True)]
    return {
        "difference inside the window": _level(map(_inside, differences)) / _level(map(_inside, recordings)),
        "outside": _level(map(_outside, differences)) / _level(map(_outside, recordings)),
    }


def _window(samples: Samples) -> slice:
    start = (samples.shape[1] - WINDOW_SECONDS * SAMPLE_RATE) // 2
    return slice(start, start + WINDOW_SECONDS * SAMPLE_RATE)


def _inside(samples: Samples) -> Samples:
    return samples[:, _window(samples)]


def _outside(samples: Samples) -> Samples:
    return np.delete(samples, np.r_[_window(samples)], axis=1)


def _heard_inside(samples: Samples) -> Answer:
    return listen(_inside(samples), WINDOW_SECONDS)


def repaints(url: str, count: int, seconds: int) -> tuple[list[Row], Row]:
    """Return what windows keep of recordings this long, and how far the songs are from them."""
    asked = requests(count, seconds)
    recordings = [request.rendered() for request in asked]
    heard = [listen(recording, seconds) for recording in recordings]
    made = _samples(url, map(repaint, asked, recordings))
    told = _samples(url, map(repaint_told, asked, recordings))
    name = f"windows of {WINDOW_SECONDS} s in {seconds} s"
    shares = [
        *kept(f"repainted {name}", [_heard_inside(song) for song in made], heard),
        *kept(f"repainted {name}, tempo and key told", [_heard_inside(song) for song in told], heard),
        *kept(f"{name}, not repainted", [_heard_inside(song) for song in recordings], heard),
    ]
    return shares, {"songs": name, **repainted(made, recordings)}


def _level(pieces: Iterable[Samples]) -> float:
    return float(np.sqrt(np.mean([np.mean(piece**2) for piece in pieces])))


def timbre_distance(one: Samples, other: Samples) -> float:
    """Return the mean distance of the instrument probe's features.

    It is in nepers, because most are mel levels.
    """
    heard = [features(mono(samples)).timbre for samples in (one, other)]
    return float(np.abs(heard[0] - heard[1]).mean())


def references(url: str, asked: Sequence[Request], recordings: Sequence[Samples]) -> list[Row]:
    """Measure how far songs move with the same seed, another seed, and another instrument as reference."""
    strangers = [recordings[(i + 3) % len(recordings)] for i in range(len(recordings))]
    bodies = [{**request.body(), "thinking": False} for request in asked]
    plain, again = (_samples(url, [Order(body, {}) for body in bodies]) for _ in range(2))
    reseeded = _samples(url, [Order({**body, "seed": body["seed"] + 1000}, {}) for body in bodies])
    pairs = zip(bodies, strangers, strict=True)
    referred = _samples(url, [Order(body, {"reference_audio": stranger}) for body, stranger in pairs])
    nearer = [
        timbre_distance(song, stranger) < timbre_distance(without, stranger)
        for song, without, stranger in zip(referred, plain, strangers, strict=True)
    ]
    return [
        {
            "the same seed again": _distances(plain, again),
            "another seed": _distances(plain, reseeded),
            "with a reference": _distances(plain, referred),
            "nearer to the reference with it, per cent": float(100 * np.mean(nearer)),
        }
    ]


def _distances(some: Sequence[Samples], others: Sequence[Samples]) -> float:
    return float(np.mean([timbre_distance(one, other) for one, other in zip(some, others, strict=True)]))


def _samples(url: str, orders: Iterable[Order]) -> list[Samples]:
    return [song.samples for song in songs(url, orders)]


def codes_again(url: str, asked: Sequence[Request]) -> list[Row]:
    """Per cent of songs' codes that come back when they are heard, by name and as unknown recordings."""
    made = list(songs(url, [Order({**request.body(), "thinking": True}, {}) for request in asked]))
    named = [
        Order({"output": "codes", "src_audio_path": song.result["first_audio_path"]}, {}) for song in made
    ]
    unknown = [Order({"output": "codes"}, {"src_audio": song.samples}) for song in made]
    return [
        {"songs": name, "codes that come back": _same_codes(made, results(url, orders))}
        for name, orders in (("by name", named), ("as unknown recordings", unknown))
    ]


def _same_codes(made: Sequence[Song], heard: Iterable[Row]) -> float:
    pairs = [
        pair
        for song, result in zip(made, heard, strict=True)
        for pair in zip(_codes(song.result), _codes(result), strict=True)
    ]
    return float(100 * np.mean([one == other for one, other in pairs]))


def _codes(result: Mapping[str, Any]) -> list[str]:
    return CODE_TOKEN.findall(result["audio_codes"][0])


def plans(url: str, count: int) -> list[Row]:
    """Compare, for each genre, the tempi and keys of the language model with those of the recipe."""
    genres = [name for name in GENRES for _ in range(count)]
    made = songs(url, plan_orders(genres))
    chosen: dict[str, list[Song]] = {name: [] for name in GENRES}
    for genre, song in zip(genres, made, strict=True):
        chosen[genre].append(song)
    return [planned(name, found) for name, found in chosen.items()]


def plan_orders(genres: Sequence[str]) -> Iterator[Order]:
    """Yield orders with a caption of each genre and without tempo and key."""
    for i, genre in enumerate(genres):
        number = _PLANNED + i
        # The recipe draws the genre itself, so captions are drawn until one has the wanted genre.
        while True:
            rng = generator(Purpose.EVALUATION, number)
            description = describe(rng, SECONDS)
            if description.genre == genre:
                break
            number += len(genres)
        body = {"caption": caption(description, rng), "lyrics": INSTRUMENTAL, "audio_duration": SECONDS}
        yield Order({**body, "thinking": True, "use_random_seed": False, "seed": number}, {})


def planned(genre: str, found: Sequence[Song]) -> Row:
    """Summarise what the language model chose for captions of one genre."""
    low, high = GENRES[genre].tempo
    tempi = [song.result["bpm"] for song in found]
    minor = [song.result["keyscale"].split()[-1] == "minor" for song in found]
    keys = {song.result["keyscale"].split()[0] for song in found}
    return {
        "genre": genre,
        "bpm, 10th to 90th percentile": "{:.0f} to {:.0f}".format(*np.percentile(tempi, (10, 90))),
        "of the recipe": f"{low} to {high}",
        "inside, per cent": float(100 * np.mean([low <= tempo <= high for tempo in tempi])),
        "minor, per cent": float(100 * np.mean(minor)),
        "of the recipe, per cent": 100 * GENRES[genre].minor,
        "different tonics": len(keys),
    }


def main() -> None:
    """Run the benchmark and print its tables."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--url", required=True, help="of a running server")
    options.add_argument("--recordings", type=int, default=24)
    options.add_argument("--songs-of-a-genre", type=int, default=SONGS_OF_A_GENRE)
    options.add_argument("--json", type=Path, help="also write the figures to this file")
    chosen = options.parse_args()
    asked = requests(chosen.recordings)
    recordings = [request.rendered() for request in asked]
    heard = [listen(recording, SECONDS) for recording in recordings]
    covers = _samples(chosen.url, map(cover, asked, recordings))
    shares = kept("covers", [listen(song, SECONDS) for song in covers], heard)
    differences: list[Row] = []
    for seconds in REPAINTED_SECONDS:
        of_windows, difference = repaints(chosen.url, chosen.recordings, seconds)
        shares += of_windows
        differences.append(difference)
    tables: dict[str, Table] = {}
    tables["tempo and key of the recording, per cent kept"] = shares
    tables["differences from the recording, as shares of its level"] = differences
    tables["distance of timbres"] = references(chosen.url, asked, recordings)
    tables["codes that come back when songs are heard"] = codes_again(chosen.url, asked)
    tables["planned from captions alone"] = plans(chosen.url, chosen.songs_of_a_genre)
    for title, rows in tables.items():
        show(title, rows)
    write_json(chosen.json, tables)


if __name__ == "__main__":
    main()
