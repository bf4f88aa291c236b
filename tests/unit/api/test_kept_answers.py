"""Answers that the edge keeps: the studio's files, which never change under their addresses."""

from typing import Any

import httpx
import pytest

from configs.settings import Settings
from serve_app import kept_answers
from serve_app.api.app import create_app
from serve_app.edge import Edge
from serve_app.storage import AudioStorage
from serve_app.studio.files import studio_in
from tests.unit.api.conftest import LocalJobService

STUDIO = studio_in()
MAIN = f"/studio/{STUDIO.version}/js/main.js"
GZIP, PLAIN = {"Accept-Encoding": "gzip, deflate"}, {"Accept-Encoding": "identity"}


class Counted:
    """The application, with the requests that reach it."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.paths: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        await self._app(scope, receive, send)


@pytest.fixture
def app(service: LocalJobService, settings: Settings, storage: AudioStorage) -> Counted:
    return Counted(create_app(service, settings, storage))


@pytest.fixture
def edge(app: Counted) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(Edge(app), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://server")


async def test_a_file_reaches_the_application_once(app: Counted, edge: httpx.AsyncClient) -> None:
    first, second = [await edge.get(MAIN, headers=PLAIN) for _ in range(2)]
    assert app.paths == [MAIN]
    assert second.status_code == 200
    assert first.content == second.content == STUDIO.files["js/main.js"].plain.content
    ids = [answer.headers.pop("x-request-id") for answer in (first, second)]
    assert ids[0] != ids[1]
    assert first.headers == second.headers


async def test_each_coding_has_its_own_answer(app: Counted, edge: httpx.AsyncClient) -> None:
    for _ in range(2):
        plain, compressed = await edge.get(MAIN, headers=PLAIN), await edge.get(MAIN, headers=GZIP)
        assert "content-encoding" not in plain.headers
        assert compressed.headers["content-encoding"] == "gzip"
        assert plain.content == compressed.content
    assert len(app.paths) == 2


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", PLAIN),
        ("/studio/other-version/js/main.js", PLAIN),
        (f"/studio/{STUDIO.version}/js/nothing.js", PLAIN),
        (f"{MAIN}?x=1", PLAIN),
        (MAIN, {"Accept-Encoding": "gzip;q=0"}),
        (MAIN, {"If-None-Match": '"other"'}),
        (MAIN, {**PLAIN, "Origin": "https://page.example"}),
        ("/v1/models", PLAIN),
    ],
)
async def test_what_may_change_is_asked_for_each_time(
    app: Counted, edge: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    for _ in range(2):
        await edge.get(path, headers=headers)
    assert len(app.paths) == 2


@pytest.mark.parametrize("page_first", [True, False])
async def test_a_page_elsewhere_and_a_program_get_answers_of_their_own(
    service: LocalJobService, settings: Settings, storage: AudioStorage, page_first: bool
) -> None:
    """A browser takes no answer without its origin, and no cache may keep one with another's."""
    api = settings.api.model_copy(update={"cors_origins": ("https://page.example",)})
    app = Counted(create_app(service, settings.model_copy(update={"api": api}), storage))
    page, program = {**PLAIN, "Origin": "https://page.example"}, PLAIN
    async with httpx.AsyncClient(transport=httpx.ASGITransport(Edge(app)), base_url="http://server") as edge:
        for headers in (page, program, page) if page_first else (program, page, program):
            answer = await edge.get(MAIN, headers=headers)
            assert answer.content == STUDIO.files["js/main.js"].plain.content
            assert answer.headers.get("access-control-allow-origin") == headers.get("Origin")
    assert len(app.paths) == (3 if page_first else 2)


async def test_other_methods_are_not_answered_from_memory(app: Counted, edge: httpx.AsyncClient) -> None:
    await edge.get(MAIN)
    assert (await edge.head(MAIN)).content == b""
    assert (await edge.post(MAIN)).status_code == 405
    assert len(app.paths) == 3


async def test_a_browser_that_has_a_file_is_told_so(edge: httpx.AsyncClient) -> None:
    first = await edge.get(MAIN, headers=PLAIN)
    second = await edge.get(MAIN, headers={**PLAIN, "If-None-Match": first.headers["etag"]})
    assert second.status_code == 304


async def test_what_is_kept_is_bounded(
    app: Counted, edge: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sorted(name for name in STUDIO.files if name.startswith("js/"))
    largest = max(len(STUDIO.files[name].plain.content) for name in names)
    monkeypatch.setattr(kept_answers, "MOST_BYTES", 2 * largest)
    for _ in range(2):
        for name in names:
            answer = await edge.get(f"/studio/{STUDIO.version}/{name}", headers=PLAIN)
            assert answer.content == STUDIO.files[name].plain.content
    assert len(app.paths) > len(names)
