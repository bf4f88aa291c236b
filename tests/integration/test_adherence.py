"""The scorer recognises rendered songs, and songs that it gets from a server through the HTTP API."""

import pytest

from acestep_client import InvalidRequestError
from benchmarks.adherence import SECONDS, answered, listen, order, order_from_codes, requests, rows
from benchmarks.song_server import Order, songs
from configs.domain import SAMPLE_RATE
from tests.live_server import Client


@pytest.mark.slow
def test_rendered_songs_are_heard_as_what_they_are() -> None:
    asked = requests(24)
    own, chance = rows("rendered", asked, [listen(request.rendered(), SECONDS) for request in asked])
    assert own["sound"] == 100
    assert own["tempo"] > 90
    assert own["key"] > 90
    assert own["drums"] > 90
    assert own["instrument"] > 75
    assert chance["tempo"] < 40
    assert chance["key"] < 30
    assert chance["instrument"] < 25


def test_songs_of_a_server_are_fetched_and_heard(server: Client) -> None:
    (asked,) = requests(1)
    orders = [order(asked, {"thinking": False}), order_from_codes(asked)]
    for answer in answered(str(server.http.base_url), orders):
        assert answer.is_sound
        assert 20 < answer.tempo < 400


def test_recordings_are_sent_along(server: Client) -> None:
    asked = requests(1)[0]
    recording = asked.rendered()[:, : 2 * SAMPLE_RATE]
    order = Order({"task_type": "cover", "caption": asked.caption}, {"src_audio": recording})
    (song,) = songs(str(server.http.base_url), [order])
    assert song.samples.shape == recording.shape
    assert song.result["duration"] == 2


def test_a_refused_order_says_why(server: Client) -> None:
    with pytest.raises(InvalidRequestError, match="caption"):
        next(songs(str(server.http.base_url), [Order({"caption": 7}, {})]))
