"""Measures whether songs follow their requests in tempo, key, leading instrument and drums.

    python -m benchmarks.adherence --url http://127.0.0.1:8001 --json adherence.json

The benchmark sends 100 requests to a running server's HTTP API and listens to the songs. The training recipe
never rendered any of these requests. The table compares the server's score with four others:

- the same requests composed and rendered by the recipe, which shows how the scorer judges perfect answers;
- these rendered songs after the codec, which no model of its latents can surpass;
- the server's songs from the codes of the rendered songs, which no language model can surpass;
- chance: songs scored against each other's requests.

It needs the extra `training`.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.listening.features import features
from benchmarks.listening.probe import Heard, hear, mono
from benchmarks.listening.tempo import is_tempo, tempo
from benchmarks.measuring import show, write_json
from benchmarks.song_server import Order, Samples, songs
from configs.domain import INSTRUMENTAL, SAMPLE_RATE
from deployments.checkpoints.loading import load_vae
from deployments.codec.engine import VaeEngine
from training.songs.captions import caption
from training.songs.description import Description, describe
from training.songs.genres import FAMILIES
from training.songs.song import Purpose, generator, render
from training.songs.theory import Key

REQUESTS = 100
SECONDS = 10
CLIPPED = 0.999
"""Magnitude that no sample may reach. The server normalises songs to a peak of -1 dBFS."""
SILENT = 1e-3
"""Root mean square below which a second counts as silent."""


@dataclass(frozen=True)
class Request:
    """Describes one song to ask for."""

    number: int
    description: Description
    caption: str

    def body(self) -> dict[str, Any]:
        """Return the body of `POST /v1/music/generate` for this song."""
        return {
            "caption": self.caption,
            "lyrics": INSTRUMENTAL,
            "bpm": self.description.bpm,
            "key_scale": self.description.key.name,
            "time_signature": self.description.metre,
            "audio_duration": self.description.seconds,
            "use_random_seed": False,
            "seed": self.number,
        }

    def rendered(self) -> Samples:
        """Return the song as the training recipe renders it."""
        return render(self.description, generator(Purpose.EVALUATION, REQUESTS + self.number))


@dataclass(frozen=True)
class Answer:
    """Holds what was heard in one song."""

    tempo: float
    heard: Heard
    is_sound: bool
    """True when the song has the requested length, no sample clips, and no second but the last is silent."""


def requests(count: int = REQUESTS, seconds: int = SECONDS) -> list[Request]:
    """Draw requests. Every family leads equally often and half of the songs have drums."""
    made = []
    for number in range(count):
        rng = generator(Purpose.EVALUATION, number)
        lead = FAMILIES[number % len(FAMILIES)]
        description = describe(rng, seconds, lead, drums=number // len(FAMILIES) % 2 == 0)
        made.append(Request(number, description, caption(description, rng)))
    return made


def listen(samples: Samples, seconds: float) -> Answer:
    """Measure everything that is scored in samples [2, samples] at 48 kHz."""
    listened = mono(samples)
    whole_seconds = samples[:, : int(seconds) * SAMPLE_RATE].reshape(2, -1, SAMPLE_RATE)
    levels = np.sqrt((whole_seconds**2).mean(axis=(0, 2)))
    is_sound = (
        samples.shape[1] == round(seconds * SAMPLE_RATE)
        and float(np.abs(samples).max()) < CLIPPED
        and bool((levels[:-1] > SILENT).all())
    )
    return Answer(tempo(listened), hear(features(listened)), is_sound)


def is_near(heard: Key, asked: Key) -> bool:
    """Return whether a key is the requested one, its relative or its parallel."""
    return heard in (asked, asked.relative, asked.parallel)


def score(asked: Description, answer: Answer) -> dict[str, bool]:
    """Return, for each wish of the request, whether the answer fulfils it."""
    return {
        "tempo": is_tempo(answer.tempo, asked.bpm),
        "key": is_near(answer.heard.key, asked.key),
        "exact key": answer.heard.key == asked.key,
        "instrument": answer.heard.family == asked.lead,
        "drums": answer.heard.drums == asked.drums,
        "sound": answer.is_sound,
    }


def shares(scores: Sequence[dict[str, bool]]) -> dict[str, float]:
    """Return the percentage of answers that fulfil each wish."""
    return {wish: 100 * sum(each[wish] for each in scores) / len(scores) for wish in scores[0]}


def rows(name: str, asked: Sequence[Request], answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return two rows: the score of the answers, and their score as answers to all the other requests."""
    pairs = list(zip(asked, answers, strict=True))
    own = [score(request.description, answer) for request, answer in pairs]
    others = [
        score(request.description, answer)
        for request in asked
        for other, answer in pairs
        if other is not request
    ]
    return [{"songs": name, **shares(own)}, {"songs": f"chance, {name}", **shares(others)}]


def order(request: Request, wishes: Mapping[str, Any]) -> Order:
    """Return an order for the request with further fields, `wishes`."""
    return Order({**request.body(), **wishes}, {})


def order_from_codes(request: Request, **wishes: Any) -> Order:
    """Return an order with the rendered song's codes and further fields.

    The language model then has no influence.
    """
    cover = {"task_type": "cover", "thinking": False}
    return Order({**request.body(), **cover, **wishes}, {"src_audio": request.rendered()})


def answered(url: str, orders: Iterable[Order]) -> list[Answer]:
    """Let the server make the songs, and return what is heard in each."""
    return [listen(song.samples, SECONDS) for song in songs(url, orders)]


def through(codec: VaeEngine, samples: Samples) -> Samples:
    """Encode and decode samples [2, samples]. The result has whole latent frames."""
    return codec.decode(codec.encode(samples))[:, : samples.shape[1]]


def _variants(thinking: bool, scales: Sequence[float] | None) -> list[dict[str, Any]]:
    guided = [{"lm_cfg_scale": scale} for scale in scales] if scales else [{}]
    return [{"thinking": thinking, **scale} for scale in guided]


def _in_words(wishes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in wishes.items())


def main() -> None:
    """Run the benchmark and print its table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--url", help="of a running server; without it only rendered songs are scored")
    options.add_argument("--vae", type=Path, help="folder of the codec that rendered songs go through")
    options.add_argument("--thinking", action=argparse.BooleanOptionalAction, default=True)
    options.add_argument("--lm-cfg-scale", type=float, nargs="+", help="guidance of the LM; a row for each")
    options.add_argument(
        "--fields",
        type=json.loads,
        nargs="+",
        default=[{}],
        help="objects of further fields of the requests, in JSON; rows for each",
    )
    options.add_argument("--from-codes-alone", action="store_true", help="leave the LM's own songs out")
    options.add_argument("--requests", type=int, default=REQUESTS)
    options.add_argument("--json", type=Path, help="also write the figures to this file")
    chosen = options.parse_args()
    asked = requests(chosen.requests)
    table = []
    if chosen.url:
        for fields, wishes in product(chosen.fields, _variants(chosen.thinking, chosen.lm_cfg_scale)):
            if not chosen.from_codes_alone:
                orders = [order(request, wishes | fields) for request in asked]
                name = f"generated, {_in_words(wishes | fields)}"
                table += rows(name, asked, answered(chosen.url, orders))
        for fields in chosen.fields:
            heard = answered(chosen.url, (order_from_codes(request, **fields) for request in asked))
            name = ", ".join(filter(None, ("generated from codes of the rendered", _in_words(fields))))
            table += rows(name, asked, heard)
    if chosen.vae:
        codec = VaeEngine(load_vae(chosen.vae, "cpu", torch.float32))
        decoded = [listen(through(codec, request.rendered()), SECONDS) for request in asked]
        table += rows("rendered, through the codec", asked, decoded)
    table += rows("rendered", asked, [listen(request.rendered(), SECONDS) for request in asked])
    show(f"{len(asked)} requests, per cent fulfilled", table)
    write_json(chosen.json, {"scores": table})


if __name__ == "__main__":
    main()
