"""The music of the embedded model follows its requests.

Goals and true scores are in the model card. Untrained weights do not reach three times the score of chance.
"""

from collections.abc import Iterator

import pytest

from benchmarks.abilities import repaints
from benchmarks.adherence import Answer, Request, answered, order, order_from_codes, requests, rows
from serve_app.local_server import local_server
from tests.live_server import embedded_config
from tests.ports import free_port

pytestmark = pytest.mark.slow

ASKED = requests(100)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("embedded")
    with local_server(embedded_config(free_port(), folder), folder / "serve.log") as running:
        running.wait_until_ready(lambda _seconds, _waiting_for: None)
        yield running.url


def holds_what_was_asked(asked: list[Request], answers: list[Answer]) -> None:
    own, chance = rows("songs", asked, answers)
    assert own["sound"] == 100
    assert own["drums"] >= 75
    for wish in ("tempo", "key", "instrument"):
        assert own[wish] >= 3 * chance[wish], (wish, own, chance)


def test_songs_follow_words_by_all_models(url: str) -> None:
    holds_what_was_asked(ASKED, answered(url, [order(request, {"thinking": True}) for request in ASKED]))


def test_songs_follow_codes_without_the_language_model(url: str) -> None:
    few = ASKED[:24]
    holds_what_was_asked(few, answered(url, map(order_from_codes, few)))


def test_repainted_windows_keep_the_key_of_the_music_around_them(url: str) -> None:
    (heard, chance, told, *_), difference = repaints(url, count=10, seconds=20)
    assert heard["key"] >= 2 * chance["key"]
    assert told["key"] >= 50
    assert difference["outside"] < 0.1 < difference["difference inside the window"]
