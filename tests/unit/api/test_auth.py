"""With API keys, each user sees their own jobs and songs and nobody else's."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from configs.settings import Settings
from serve_app.api.access.audio_tokens import AudioTokens
from serve_app.api.access.keys import KEYS_VARIABLE, digest_of
from serve_app.storage import AudioStorage
from tests.audio import write_recording
from tests.unit.api.conftest import LocalJobService
from tests.unit.api.shared_app import SharedApp
from tests.unit.api.test_jobs import RESULT

GENERATE = "/v1/music/generate"
KEYS = {"alice": "acestep-alice", "bob": "acestep-bob"}
ALICE, BOB = ({"Authorization": f"Bearer {key}"} for key in KEYS.values())
PATHS = [
    ("POST", GENERATE),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/nobody"),
    ("DELETE", "/v1/jobs/nobody"),
    ("GET", "/v1/jobs/nobody/events"),
    ("GET", "/v1/audio/nobody/0.mp3"),
    ("HEAD", "/v1/audio/nobody/0.mp3"),
    ("GET", "/v1/audio/nobody/0.mp3/provenance"),
    ("POST", "/mcp"),
    ("GET", "/v1/models"),
    ("GET", "/v1/stats"),
]


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    entries = [
        {"name": name, "sha256": digest_of(key), "max_priority": 5 if name == "bob" else 0}
        for name, key in KEYS.items()
    ]
    monkeypatch.setenv(KEYS_VARIABLE, str(entries))
    return settings


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share one application."""
    return shared_http


@pytest.fixture
def song(http: httpx.AsyncClient, service: LocalJobService, storage: AudioStorage, tmp_path: Path) -> Any:
    """Return a function that makes a song of Alice's and returns its path."""

    async def make() -> str:
        answer = await http.post(GENERATE, json={"audio_format": "mp3"}, headers=ALICE)
        assert answer.status_code == 200, answer.text
        claim = service.claim()
        job_id = claim.job.job_id
        uri = storage.result_uri(job_id, 1, 0, "mp3")
        storage.write(uri, io.BytesIO(write_recording(tmp_path / "song.mp3", 2.0).read_bytes()))
        path = f"/v1/audio/{job_id}/0.mp3"
        service.finish(claim, {**RESULT, "first_audio_path": path, "audio_paths": [path]}, (uri,))
        return path

    return make


SHARED = {"/v1/models", "/v1/stats"}
"""Routes that belong to the ACE-Step API, too, and take keys in all places that its clients put them into."""


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer acestep-mallory"},
        {"Authorization": f"Basic {KEYS['alice']}"},
        {"X-API-Key": f"Bearer {KEYS['alice']}"},
        {"X-API-Key": b"\xff\xfe"},
    ],
)
async def test_without_a_key_nothing_is_told(
    http: httpx.AsyncClient, method: str, path: str, headers: dict[str, Any]
) -> None:
    answer = await http.request(method, path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert method == "HEAD" or "X-API-Key" in answer.json()["detail"]


@pytest.mark.parametrize(("method", "path"), [one for one in PATHS if one[1] not in SHARED])
async def test_a_key_needs_its_scheme(http: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await http.request(method, path, headers={"Authorization": KEYS["alice"]})
    assert answer.status_code == 401


async def test_a_body_without_a_key_is_not_even_read(http: httpx.AsyncClient) -> None:
    async def body() -> Any:
        raise AssertionError("the body was read")
        yield b""

    assert (await http.post(GENERATE, content=body())).status_code == 401


@pytest.mark.parametrize("path", ["/health", "/ready", "/docs", "/openapi.json"])
async def test_what_needs_no_key(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 200


@pytest.mark.parametrize(
    "headers", [ALICE, {"authorization": f"bearer  {KEYS['alice']}"}, {"X-API-Key": KEYS["alice"]}]
)
async def test_a_key_in_either_header(
    http: httpx.AsyncClient, service: LocalJobService, headers: dict[str, str]
) -> None:
    assert (await http.post(GENERATE, json={}, headers=headers)).status_code == 200
    assert service.jobs[0].client == "alice"


async def test_anothers_job_is_as_unknown_as_none(http: httpx.AsyncClient, song: Any) -> None:
    path = await song()
    job_id = path.split("/")[3]
    for method, url in (
        ("GET", "/v1/jobs/{}"),
        ("GET", "/v1/jobs/{}?wait=1"),
        ("DELETE", "/v1/jobs/{}"),
        ("GET", "/v1/jobs/{}/events"),
        ("GET", "/v1/audio/{}/0.mp3"),
        ("HEAD", "/v1/audio/{}/0.mp3"),
    ):
        theirs = await http.request(method, url.format(job_id), headers=BOB)
        nobodys = await http.request(method, url.format("nobody"), headers=BOB)
        assert (theirs.status_code, theirs.content) == (nobodys.status_code, nobodys.content)
        assert theirs.status_code == 404
        assert dict(theirs.headers) == dict(nobodys.headers)
    assert (await http.get("/v1/jobs", headers=BOB)).json() == {"jobs": [], "next_cursor": None}


async def test_a_key_opens_its_own_songs(http: httpx.AsyncClient, song: Any) -> None:
    assert (await http.get(await song(), headers=ALICE)).status_code == 200


async def test_urls_of_answers_open_songs_without_a_key(http: httpx.AsyncClient, song: Any) -> None:
    path = await song()
    job_id = path.split("/")[3]
    job = (await http.get(f"/v1/jobs/{job_id}", headers=ALICE)).json()
    (listed,) = (await http.get("/v1/jobs", headers=ALICE)).json()["jobs"]
    for result in (job["result"], listed["result"]):
        for url in (result["first_audio_path"], *result["audio_paths"]):
            assert url.startswith(f"{path}?token=")
            assert (await http.get(url)).status_code == 200
            assert (await http.get(url, headers={"Range": "bytes=0-9"})).status_code == 206
            assert (await http.get(url, headers=BOB)).status_code == 200
    assert job["result"]["second_audio_path"] is None


async def test_a_forged_or_borrowed_token_opens_nothing(http: httpx.AsyncClient, song: Any) -> None:
    first, second = await song(), await song()
    job = (await http.get(f"/v1/jobs/{first.split('/')[3]}", headers=ALICE)).json()
    token = job["result"]["first_audio_path"].partition("=")[2]
    expiry, _, signature = token.partition(".")
    for url in (
        f"{second}?token={token}",
        f"{first}?token={int(expiry) + 1}.{signature}",
        f"{first}?token={expiry}.{'A' * len(signature)}",
        f"{first}?token={token}x",
        f"{first}?token=",
        f"{first}?token=%00",
    ):
        answer = await http.get(url)
        assert answer.status_code == 401, url
        assert "token" in answer.json()["detail"]


async def test_tokens_expire(service: LocalJobService) -> None:
    now = [1_000_000.0]
    tokens = AudioTokens(service, 60, lambda: now[0])
    path = "/v1/audio/a/0.mp3"
    token = (await tokens.signer())(path).partition("=")[2]
    assert await tokens.valid(path, token)
    now[0] += 59
    assert await tokens.valid(path, token)
    now[0] += 1
    assert not await tokens.valid(path, token)


async def test_only_own_results_are_sources(
    http: httpx.AsyncClient, song: Any, stored_files: Callable[[], list[Path]]
) -> None:
    path = await song()
    job = (await http.get(f"/v1/jobs/{path.split('/')[3]}", headers=ALICE)).json()
    signed = job["result"]["first_audio_path"]
    kept = stored_files()
    for source in (path, signed):
        cover = {"task_type": "cover", "src_audio_path": source}
        answers = [
            await http.post(GENERATE, json=request, headers=BOB)
            for request in (cover, {**cover, "src_audio_path": "/v1/audio/nobody/0.mp3"})
        ]
        assert [answer.status_code for answer in answers] == [422, 422]
        assert answers[0].content == answers[1].content
        assert stored_files() == kept
    for source in (path, signed):
        cover = {"task_type": "cover", "src_audio_path": source}
        assert (await http.post(GENERATE, json=cover, headers=ALICE)).status_code == 200


@pytest.mark.parametrize(("headers", "priority", "status"), [(ALICE, 1, 422), (BOB, 5, 200), (BOB, 6, 422)])
async def test_priority_is_for_keys_that_may(
    http: httpx.AsyncClient, headers: dict[str, str], priority: int, status: int
) -> None:
    answer = await http.post(GENERATE, json={"priority": priority}, headers=headers)
    assert answer.status_code == status
    if status == 422:
        assert answer.json()["detail"][0]["loc"] == ["body", "priority"]


async def test_a_higher_priority_goes_first(http: httpx.AsyncClient) -> None:
    first = (await http.post(GENERATE, json={}, headers=ALICE)).json()
    second = (await http.post(GENERATE, json={"priority": 1}, headers=BOB)).json()
    assert (first["queue_position"], second["queue_position"]) == (1, 1)


async def test_openapi_says_how_a_key_is_sent(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    assert {scheme["type"] for scheme in document["components"]["securitySchemes"].values()} == {
        "http",
        "apiKey",
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("401" in operation["responses"]) == (path not in {"/health", "/ready"})


async def test_under_a_prefix_the_tokens_of_songs_are_valid(
    song: Callable[[], Any], settings: Settings, shared_app: SharedApp
) -> None:
    path = await song()
    transport = httpx.ASGITransport(shared_app(settings), raise_app_exceptions=False, root_path="/music")
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        job = (await client.get(f"/music/v1/jobs/{path.split('/')[3]}", headers=ALICE)).json()
        (signed,) = job["result"]["audio_paths"]
        assert (await client.get(f"/music{signed}")).status_code == 200
        assert (await client.get(f"/music{path}")).status_code == 401
