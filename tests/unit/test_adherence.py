"""The requests and the scoring rules of the adherence benchmark."""

import numpy as np
import pytest

from benchmarks.adherence import REQUESTS, SECONDS, Answer, is_near, requests, rows, score, shares
from benchmarks.listening.probe import Heard
from benchmarks.listening.tempo import is_tempo
from configs.domain import SAMPLE_RATE
from training.songs.genres import FAMILIES
from training.songs.theory import Key


def test_the_hundred_requests_are_always_the_same() -> None:
    assert len(requests()) == REQUESTS
    assert requests() == requests()


def test_every_family_is_asked_for_with_and_without_drums() -> None:
    asked = {(request.description.lead, request.description.drums) for request in requests()}
    assert asked == {(family, drums) for family in FAMILIES for drums in (True, False)}


def test_a_request_says_all_that_is_scored() -> None:
    for request in requests(16):
        body = request.body()
        assert body["bpm"] == request.description.bpm
        assert body["key_scale"] == request.description.key.name
        assert body["audio_duration"] == SECONDS
        without = any(words in body["caption"] for words in ("without drums", "no drums", "no percussion"))
        assert without != request.description.drums


def test_the_rendered_answer_is_as_long_as_asked() -> None:
    assert requests(1)[0].rendered().shape == (2, SECONDS * SAMPLE_RATE)


@pytest.mark.parametrize(
    ("heard", "asked", "right"),
    [
        (120, 120, True),
        (60, 120, True),
        (240, 120, True),
        (124.7, 120, True),
        (125, 120, False),
        (80, 120, False),
    ],
)
def test_tempi_may_be_an_octave_off_and_four_per_cent(heard: float, asked: float, right: bool) -> None:
    assert is_tempo(heard, asked) is right


@pytest.mark.parametrize(
    ("heard", "right"),
    [
        (Key(0, "major"), True),
        (Key(9, "minor"), True),
        (Key(0, "minor"), True),
        (Key(7, "major"), False),
        (Key(5, "major"), False),
    ],
)
def test_keys_may_be_relative_or_parallel(heard: Key, right: bool) -> None:
    assert is_near(heard, Key(0, "major")) is right


def test_an_answer_is_scored_wish_by_wish_and_held_against_the_other_requests() -> None:
    asked = requests(16)
    answers = [
        Answer(
            request.description.bpm,
            Heard(request.description.key, request.description.lead, request.description.drums),
            is_sound=True,
        )
        for request in asked
    ]
    own, chance = rows("perfect", asked, answers)
    assert all(value == 100 for wish, value in own.items() if wish != "songs")
    # Each family has two requests, and half of all have drums. Of the fifteen other requests, one has the
    # same family and seven have the same drums.
    assert chance["instrument"] == pytest.approx(100 / 15)
    assert chance["drums"] == pytest.approx(100 * 7 / 15)
    assert chance["exact key"] <= chance["key"] < 50
    wrong = score(asked[0].description, answers[1])
    assert not wrong["instrument"]
    assert shares([wrong, score(asked[0].description, answers[0])])["instrument"] == 50
    assert np.isfinite(list(shares([wrong]).values())).all()
