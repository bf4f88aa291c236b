"""The requests of the benchmark about recordings, and how it counts the answers."""

import numpy as np
import pytest

from benchmarks.abilities import (
    _same_codes,
    cover,
    kept,
    plan_orders,
    planned,
    repaint,
    repaint_told,
    repainted,
)
from benchmarks.adherence import Answer, requests
from benchmarks.listening.probe import Heard
from benchmarks.song_server import Song
from configs.domain import SAMPLE_RATE, code_token
from training.songs.genres import GENRES

RECORDING = np.full((2, 10 * SAMPLE_RATE), 0.5, np.float32)


def test_a_cover_is_told_neither_tempo_nor_key_nor_the_recordings_lead() -> None:
    asked = requests(1)[0]
    order = cover(asked, RECORDING)
    assert not {"bpm", "key_scale"} & set(order.body)
    assert asked.description.lead not in order.body["caption"]
    assert order.recordings["src_audio"] is RECORDING


def test_tempo_and_key_are_held_against_the_own_recording_and_all_others() -> None:
    heard = [
        Answer(request.description.bpm, Heard(request.description.key, "piano", True), True)
        for request in requests(8)
    ]
    own, chance = kept("copies", heard, heard)
    assert (own["tempo"], own["key"]) == (100, 100)
    assert chance["tempo"] < 50
    assert chance["key"] < 50


@pytest.mark.parametrize(("seconds", "window"), [(10, (1.5, 8.5)), (20, (6.5, 13.5))])
def test_the_middle_of_a_recording_is_repainted(seconds: int, window: tuple[float, float]) -> None:
    order = repaint(requests(1)[0], np.zeros((2, seconds * SAMPLE_RATE), np.float32))
    assert (order.body["repainting_start"], order.body["repainting_end"]) == window


def test_a_repaint_that_is_told_asks_for_the_same_window_in_the_recordings_tempo_and_key() -> None:
    asked = requests(1)[0]
    order, told = repaint(asked, RECORDING), repaint_told(asked, RECORDING)
    metadata = {"bpm": asked.description.bpm, "key_scale": asked.description.key.name}
    assert not set(metadata) & set(order.body)
    assert (order.body | metadata).items() <= told.body.items()


def test_what_is_repainted_is_counted_apart_from_the_rest() -> None:
    order = repaint(requests(1)[0], RECORDING)
    song = RECORDING.copy()
    start, end = (order.body[f"repainting_{side}"] for side in ("start", "end"))
    song[:, round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = 0
    assert repainted([song], [RECORDING]) == {"difference inside the window": 1, "outside": 0}


def test_every_genre_is_asked_for_by_caption_alone() -> None:
    genres = list(GENRES)
    for genre, order in zip(genres, plan_orders(genres), strict=True):
        assert genre in order.body["caption"]
        assert not {"bpm", "key_scale"} & set(order.body)


def test_plans_are_counted_by_genre() -> None:
    low, high = GENRES["pop"].tempo
    made = [
        Song(RECORDING, {"bpm": bpm, "keyscale": key})
        for bpm, key in ((low, "C major"), (high, "A minor"), (high + 1, "C major"), (high, "C major"))
    ]
    row = planned("pop", made)
    assert row["inside, per cent"] == 75
    assert row["minor, per cent"] == pytest.approx(25)
    assert row["different tonics"] == 2


def test_codes_of_a_song_are_compared_with_those_that_were_heard() -> None:
    def song(*codes: int) -> Song:
        return Song(RECORDING, {"audio_codes": ["".join(map(code_token, codes))]})

    made = [song(1, 2), song(3, 4)]
    assert _same_codes(made, [song(1, 2).result, song(4, 4).result]) == 75
