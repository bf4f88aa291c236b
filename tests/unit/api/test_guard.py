"""The web pages that may use the API, the limit on headers, and the headers of every answer."""

from collections.abc import AsyncIterator

import httpx
import pytest

from configs.settings import Settings
from serve_app.api.access.guard import MAX_HEADER_BYTES, MAX_HEADERS
from tests.unit.api.conftest import LocalJobService
from tests.unit.api.shared_app import SharedApp

GENERATE = "/v1/music/generate"
STUDIO = "https://studio.example"


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share the applications."""
    return shared_http


@pytest.fixture
async def opened(shared_app: SharedApp, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A server that the pages of one origin may use."""
    api = settings.api.model_copy(update={"cors_origins": (STUDIO,)})
    app = shared_app(settings.model_copy(update={"api": api}))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client


@pytest.fixture
async def loopback(shared_app: SharedApp, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A server that answers only to its machine's own names."""
    api = settings.api.model_copy(update={"hosts": ("127.0.0.1", "localhost", "[::1]")})
    app = shared_app(settings.model_copy(update={"api": api}))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8001") as client:
        yield client


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8001", "localhost:8001", "LocalHost", "[::1]:8001"])
async def test_a_server_with_names_answers_to_them(loopback: httpx.AsyncClient, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert (await loopback.post(GENERATE, json={}, headers=headers)).status_code == 200


@pytest.mark.parametrize("host", ["evil.example:8001", "evil.example", "", "127.0.0.1.evil.example", "[::1"])
async def test_a_page_whose_name_points_to_the_server_gets_nothing(
    loopback: httpx.AsyncClient, service: LocalJobService, host: str
) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    for answer in (
        await loopback.post(GENERATE, json={}, headers=headers),
        await loopback.get("/v1/jobs", headers=headers),
    ):
        assert answer.status_code == 421
        assert "api.hosts" in answer.json()["detail"]
    assert service.jobs == []


def preflight(origin: str) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
    }


async def test_by_default_no_page_may_read_answers(http: httpx.AsyncClient) -> None:
    for answer in (
        await http.options(GENERATE, headers=preflight(STUDIO)),
        await http.get("/v1/models", headers={"Origin": STUDIO}),
        await http.get("/v1/jobs/none", headers={"Origin": STUDIO}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("origin", [STUDIO, "null", "http://server.elsewhere", "http://elsewhere/server", ""])
@pytest.mark.parametrize(("method", "path"), [("POST", GENERATE), ("DELETE", "/v1/jobs/none")])
async def test_by_default_only_pages_of_the_server_itself_change_anything(
    http: httpx.AsyncClient, service: LocalJobService, origin: str, method: str, path: str
) -> None:
    answer = await http.request(method, path, headers={"Origin": origin})
    assert answer.status_code == 403
    assert "api.cors_origins" in answer.json()["detail"]
    assert service.jobs == []


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://server"}, {"Origin": "https://server"}])
async def test_programs_and_the_servers_own_pages_submit(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    assert (await http.post(GENERATE, json={}, headers=headers)).status_code == 200


async def test_pages_of_a_named_origin_may_do_all_that_users_may(opened: httpx.AsyncClient) -> None:
    asked = await opened.options(GENERATE, headers=preflight(STUDIO))
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == STUDIO
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert "authorization" in asked.headers["access-control-allow-headers"].lower()
    accepted = await opened.post(GENERATE, json={}, headers={"Origin": STUDIO})
    refused = await opened.get("/v1/jobs/none", headers={"Origin": STUDIO})
    assert (accepted.status_code, refused.status_code) == (200, 404)
    for answer in (accepted, refused):
        assert answer.headers["access-control-allow-origin"] == STUDIO
        assert "Retry-After" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers


async def test_pages_of_other_origins_stay_outside(opened: httpx.AsyncClient) -> None:
    elsewhere = "https://studio.example.elsewhere"
    assert (await opened.options(GENERATE, headers=preflight(elsewhere))).status_code == 400
    assert (await opened.post(GENERATE, json={}, headers={"Origin": elsewhere})).status_code == 403
    answer = await opened.get("/v1/models", headers={"Origin": elsewhere})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("X-Note", "a" * (MAX_HEADER_BYTES - 500))], 200),
        ([("X-Note", "a" * MAX_HEADER_BYTES)], 431),
        ([("A" * MAX_HEADER_BYTES, "")], 431),
        ([(f"X-{number}", "") for number in range(MAX_HEADERS - 10)], 200),
        ([(f"X-{number}", "") for number in range(MAX_HEADERS + 1)], 431),
    ],
)
async def test_headers_are_limited(
    http: httpx.AsyncClient, headers: list[tuple[str, str]], status: int
) -> None:
    answer = await http.get("/health", headers=headers)
    assert answer.status_code == status
    if status == 431:
        assert "headers" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/v1/jobs/none", "/v1/audio/none/0.mp3", "/docs"])
async def test_no_answer_lets_browsers_guess_its_type(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).headers["x-content-type-options"] == "nosniff"
