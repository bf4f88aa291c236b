"""Whether songs follow their requests: tempo, key, leading instrument, drums.

    python -m benchmarks.adherence --url http://127.0.0.1:8001 --json adherence.json

Sends 100 requests, none of which the training recipe ever renders, to a running server's HTTP API and listens
to what comes back. Beside the server's score stand that of the same requests composed and rendered by the
recipe instead of generated (what the scorer makes of perfect answers), these through a codec (no model of its
latents can do better), the server's songs from codes of the rendered ones (no LM can do better), and chance:
songs held against each other's requests. It needs the extra `training`.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
"""Magnitude that no sample may reach; songs peak at -1 dBFS."""
SILENT = 1e-3
"""Root mean square of a second that counts as silence."""


@dataclass(frozen=True)
class Request:
    """A song to ask for."""

    number: int
    description: Description
    caption: str

    def body(self) -> dict[str, Any]:
        """Of `POST /v1/music/generate`."""
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
        """What the training recipe makes of it."""
        return render(self.description, generator(Purpose.EVALUATION, REQUESTS + self.number))


@dataclass(frozen=True)
class Answer:
    """What was heard of a song."""

    tempo: float
    heard: Heard
    is_sound: bool
    """The asked length, no silent second but the last, nothing clipped."""


def requests(count: int = REQUESTS, seconds: int = SECONDS) -> list[Request]:
    """Every family leads equally often, half of the songs have drums; all else is drawn."""
    made = []
    for number in range(count):
        rng = generator(Purpose.EVALUATION, number)
        lead = FAMILIES[number % len(FAMILIES)]
        description = describe(rng, seconds, lead, drums=number // len(FAMILIES) % 2 == 0)
        made.append(Request(number, description, caption(description, rng)))
    return made


def listen(samples: Samples, seconds: float) -> Answer:
    """Everything that is scored of [2, samples] at 48 kHz."""
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
    """Whether a key is the asked one, its relative or its parallel."""
    return heard in (asked, asked.relative, asked.parallel)


def score(asked: Description, answer: Answer) -> dict[str, bool]:
    """Which of the wishes an answer fulfils."""
    return {
        "tempo": is_tempo(answer.tempo, asked.bpm),
        "key": is_near(answer.heard.key, asked.key),
        "exact key": answer.heard.key == asked.key,
        "instrument": answer.heard.family == asked.lead,
        "drums": answer.heard.drums == asked.drums,
        "sound": answer.is_sound,
    }


def shares(scores: Sequence[dict[str, bool]]) -> dict[str, float]:
    """Per cent of answers that fulfil each wish."""
    return {wish: 100 * sum(each[wish] for each in scores) / len(scores) for wish in scores[0]}


def rows(name: str, asked: Sequence[Request], answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """The answers' own score, and their score as answers to all the other requests."""
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
    """The request, with more `wishes` in it."""
    return Order({**request.body(), **wishes}, {})


def order_from_codes(request: Request) -> Order:
    """The request with codes of its rendered song, so that the LM has no part in the answer."""
    return Order(
        {**request.body(), "task_type": "cover", "thinking": False}, {"src_audio": request.rendered()}
    )


def answered(url: str, orders: Iterable[Order]) -> list[Answer]:
    """What is heard of the songs that a server makes."""
    return [listen(song.samples, SECONDS) for song in songs(url, orders)]


def through(codec: VaeEngine, samples: Samples) -> Samples:
    """[2, samples] encoded and decoded; whole latent frames of them."""
    return codec.decode(codec.encode(samples))[:, : samples.shape[1]]


def _variants(thinking: bool, scales: Sequence[float] | None) -> list[dict[str, Any]]:
    guided = [{"lm_cfg_scale": scale} for scale in scales] if scales else [{}]
    return [{"thinking": thinking, **scale} for scale in guided]


def _in_words(wishes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in wishes.items())


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--url", help="of a running server; without it only rendered songs are scored")
    options.add_argument("--vae", type=Path, help="folder of the codec that rendered songs go through")
    options.add_argument("--thinking", action=argparse.BooleanOptionalAction, default=True)
    options.add_argument("--lm-cfg-scale", type=float, nargs="+", help="guidance of the LM; a row for each")
    options.add_argument("--requests", type=int, default=REQUESTS)
    options.add_argument("--json", type=Path, help="also write the figures to this file")
    chosen = options.parse_args()
    asked = requests(chosen.requests)
    table = []
    if chosen.url:
        for wishes in _variants(chosen.thinking, chosen.lm_cfg_scale):
            orders = [order(request, wishes) for request in asked]
            table += rows(f"generated, {_in_words(wishes)}", asked, answered(chosen.url, orders))
        heard = answered(chosen.url, map(order_from_codes, asked))
        table += rows("generated from codes of the rendered", asked, heard)
    if chosen.vae:
        codec = VaeEngine(load_vae(chosen.vae, "cpu", torch.float32))
        decoded = [listen(through(codec, request.rendered()), SECONDS) for request in asked]
        table += rows("rendered, through the codec", asked, decoded)
    table += rows("rendered", asked, [listen(request.rendered(), SECONDS) for request in asked])
    show(f"{len(asked)} requests, per cent fulfilled", table)
    write_json(chosen.json, {"scores": table})


if __name__ == "__main__":
    main()
