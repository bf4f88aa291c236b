"""Access to the ACE-Step API: keys, web pages, its two doors, and the form of its errors."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from configs.settings import Settings
from serve_app.api.access.audio_tokens import AudioTokens
from serve_app.api.access.keys import KEYS_VARIABLE, digest_of
from tests.unit.api.conftest import LocalJobService, wav_bytes
from tests.unit.api.release_task.conftest import CONTENT, Finish, query
from tests.unit.api.shared_app import SharedApp

KEYS = {"alice": "acestep-alice", "bob": "acestep-bob"}
ALICE, BOB = ({"Authorization": f"Bearer {key}"} for key in KEYS.values())
KEY = KEYS["alice"]
GETS = ["/v1/stats", "/v1/models", "/v1/model_inventory", "/v1/lora/status"]
POSTS = [
    "/release_task", "/query_result", "/format_input", "/v1/create_sample", "/create_random_sample",
    "/v1/init", "/v1/reinitialize", "/v1/lora/load", "/v1/lora/unload", "/v1/lora/toggle", "/v1/lora/scale",
    "/v1/chat/completions", "/cancel_task", "/cleanup/x", "/v1/audio", "/v1/stats", "/v1/models",
    "/v1/model_inventory", "/v1/lora/status",
]  # fmt: skip
SECRET = "the words of a user"
HOSTILE_PAGE = "https://elsewhere.example"
ORIGINS = ("http://localhost:*", "https://127.0.0.1:*", "https://studio.example")


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share the applications."""
    return shared_http


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Settings:
    monkeypatch.setenv(KEYS_VARIABLE, str([{"name": n, "sha256": digest_of(k)} for n, k in KEYS.items()]))
    return settings


@pytest.fixture
async def keyed(shared_app: SharedApp, guarded: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A server with API keys."""
    transport = httpx.ASGITransport(shared_app(guarded), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client


async def test_without_a_valid_key_nothing_is_told(keyed: httpx.AsyncClient) -> None:
    wrong: list[dict[str, Any]] = [
        {},
        {"headers": {"Authorization": "Bearer acestep-mallory"}},
        {"headers": {"Authorization": f"Basic {KEY}"}},
        {"headers": {"X-API-Key": "acestep-mallory"}},
        {"params": {"ai_token": KEY}},
    ]
    calls = [("GET", path) for path in [*GETS, "/v1/audio"]] + [("POST", path) for path in POSTS]
    for method, path in calls:
        for options in wrong if path != "/v1/audio" else wrong[:-1]:
            for prefix in ("", "/api"):
                answer = await keyed.request(method, prefix + path, **options)
                assert answer.status_code == 401, path
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "ai_token" in answer.json()["detail"]
        if method == "POST":
            assert (await keyed.post(path, json={"ai_token": "acestep-mallory"})).status_code == 401


CREDENTIALS: list[dict[str, Any]] = [
    {"headers": {"Authorization": f"Bearer {KEY}"}},
    {"headers": {"Authorization": KEY}},
    {"headers": {"X-API-Key": KEY}},
    {"headers": {"Authorization": "Bearer wrong", "X-API-Key": KEY}},
]
IN_BODIES: list[dict[str, Any]] = [
    {"json": {"ai_token": KEY}},
    {"data": {"ai_token": KEY}},
    {"files": {"ai_token": (None, KEY)}},
    {"json": {"ai_token": KEY}, "headers": {"Authorization": "Bearer wrong"}},
]


@pytest.mark.parametrize("credentials", CREDENTIALS)
async def test_one_valid_key_in_a_header_suffices(
    keyed: httpx.AsyncClient, credentials: dict[str, Any]
) -> None:
    for path in GETS:
        assert (await keyed.get(path, **credentials)).status_code == 200
    assert (await keyed.post("/query_result", **credentials)).status_code == 200
    assert (await keyed.post("/release_task", json={}, **credentials)).status_code == 200


@pytest.mark.parametrize("credentials", IN_BODIES)
async def test_a_key_in_a_body_suffices_and_is_not_kept(
    keyed: httpx.AsyncClient,
    service: LocalJobService,
    credentials: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    for path in ("/release_task", "/query_result", "/v1/stats", "/v1/lora/status"):
        assert (await keyed.post(path, **credentials)).status_code == 200
    assert (service.jobs[0].client, KEY in repr(service.jobs)) == ("alice", False)
    assert KEY not in caplog.text


async def test_health_needs_no_key(keyed: httpx.AsyncClient) -> None:
    for answer in (await keyed.get("/health"), await keyed.post("/api/health")):
        assert answer.status_code == 200


@pytest.fixture
async def alices_file(keyed: httpx.AsyncClient, finish: Finish) -> str:
    """The address of a song of Alice's."""
    await keyed.post("/release_task", json={}, headers=ALICE)
    (row,) = await query(keyed, finish(), headers=ALICE)
    return str(row["items"][0]["file"])


async def test_anothers_task_is_as_unknown_as_none(keyed: httpx.AsyncClient, alices_file: str) -> None:
    job_id = alices_file.split("/")[5]
    theirs, nobodys = await query(keyed, job_id, "nobody", headers=BOB)
    assert {**theirs, "task_id": "nobody"} == nobodys
    answer = await keyed.post("/cancel_task", json={"task_id": job_id}, headers=BOB)
    assert answer.status_code == 404


async def test_a_signed_address_opens_a_song(keyed: httpx.AsyncClient, alices_file: str) -> None:
    assert (await keyed.get(alices_file)).content == CONTENT
    assert (await keyed.get(alices_file, headers=BOB)).content == CONTENT
    unsigned = "/".join([*alices_file.split("/")[:6], "0.mp3"])
    assert (await keyed.get(unsigned)).status_code == 401
    assert (await keyed.get(unsigned, headers=ALICE)).content == CONTENT
    assert (await keyed.get(f"{unsigned}&ai_token={KEY}")).content == CONTENT
    assert (await keyed.get(unsigned, headers=BOB)).status_code == 404
    assert (await keyed.get(f"{unsigned}&ai_token={KEYS['bob']}")).status_code == 404


async def test_each_method_opens_a_song_by_the_same_rule(keyed: httpx.AsyncClient, alices_file: str) -> None:
    signed = alices_file.partition("?path=")[2]
    unsigned = "/".join([*signed.split("/")[:4], "0.mp3"])

    async def opened(path: str, method: str, token: str = "", **options: Any) -> int:
        query = {"ai_token": token} if token else {}
        if method == "POST":
            options["json"] = {"path": path, **options.get("json", {})}
        else:
            query["path"] = path
        return (await keyed.request(method, "/v1/audio", params=query, **options)).status_code

    for method in ("GET", "HEAD", "POST"):
        assert await opened(signed, method) == 200
        assert await opened(signed, method, headers=BOB) == 200
        assert await opened(unsigned, method) == 401
        assert await opened(unsigned, method, headers=ALICE) == 200
        assert await opened(unsigned, method, KEY) == 200
        assert await opened(unsigned, method, KEYS["bob"]) == 404
        assert await opened(unsigned, method, "ключ") == 401
    assert await opened(unsigned, "POST", json={"ai_token": KEY}) == 200
    assert await opened(unsigned, "POST", json={"ai_token": KEYS["bob"]}) == 404


async def test_a_forged_or_expired_signature_opens_nothing(
    keyed: httpx.AsyncClient, alices_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expiry, _, signature = alices_file.split("/")[6].partition("-")
    for forged in (f"{int(expiry) + 1}-{signature}", f"{expiry}-{'A' * 43}"):
        address = alices_file.replace(f"{expiry}-{signature}", forged)
        assert (await keyed.get(address)).status_code == 401
        assert (await keyed.get(address, headers=ALICE)).status_code == 200
    monkeypatch.setattr(AudioTokens, "holds", lambda *_: _no())
    assert (await keyed.get(alices_file)).status_code == 401
    assert (await keyed.get(alices_file, headers=ALICE)).status_code == 200


async def _no() -> bool:
    return False


async def test_only_own_songs_are_sources(keyed: httpx.AsyncClient, alices_file: str) -> None:
    details = set()
    for path in (alices_file, alices_file.replace(alices_file.split("/")[5], "nobody")):
        fields = {"task_type": "cover", "src_audio_path": path}
        answer = await keyed.post("/release_task", json=fields, headers=BOB)
        assert answer.status_code == 422
        details.add(answer.json()["detail"])
    assert len(details) == 1


# Web pages


@pytest.fixture
async def opened(shared_app: SharedApp, guarded: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A server with keys that some pages may use."""
    api = guarded.api.model_copy(update={"cors_origins": ORIGINS})
    app = shared_app(guarded.model_copy(update={"api": api}))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        ("http://localhost:3000", True),
        ("http://localhost", True),
        ("https://127.0.0.1:1", True),
        ("https://studio.example", True),
        ("https://studio.example:8443", False),
        ("http://localhost.elsewhere.example:3000", False),
        ("http://localhost:3000.elsewhere.example", False),
        ("https://localhost:3000", False),
        ("http://localhost:", False),
        ("null", False),
        (HOSTILE_PAGE, False),
    ],
)
async def test_pages_of_named_origins_on_any_port(
    opened: httpx.AsyncClient, origin: str, welcome: bool
) -> None:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,authorization,x-api-key,range",
    }
    for path in ("/release_task", "/api/release_task", "/v1/audio", "/v1/chat/completions"):
        preflight = await opened.options(path, headers=headers)
        assert (preflight.status_code == 200) == welcome
        assert (preflight.headers.get("access-control-allow-origin") == origin) == welcome
        if welcome:
            allowed = preflight.headers["access-control-allow-methods"]
            assert all(method in allowed for method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS"))
            assert "access-control-allow-credentials" not in preflight.headers
    for options, status in (({}, 401), ({"headers": ALICE}, 200)):
        sent = {**options.get("headers", {}), "Origin": origin}
        answer = await opened.post("/release_task", json={}, headers=sent)
        assert answer.status_code == (status if welcome else 403)
        assert (answer.headers.get("access-control-allow-origin") == origin) == welcome


async def test_pages_from_files_only_where_they_are_named(shared_app: SharedApp, settings: Settings) -> None:
    api = settings.api.model_copy(update={"cors_origins": ("null",)})
    app = shared_app(settings.model_copy(update={"api": api}))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        answer = await client.post("/release_task", json={}, headers={"Origin": "null"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "null")
        assert (
            await client.post("/release_task", json={}, headers={"Origin": HOSTILE_PAGE})
        ).status_code == 403


# Doors and errors


async def test_no_answer_is_a_redirect(http: httpx.AsyncClient) -> None:
    for path in {*POSTS, *GETS} - {"/v1/chat/completions"}:  # which would wait for its song
        for written in (f"{path}/", f"/api{path}", f"/api{path}/"):
            answer = await http.post(written, json={"path": "x", "prompt": "a"})
            assert answer.status_code < 300 or answer.status_code >= 400, written
            assert answer.json().get("code", 200) == answer.status_code


@pytest.mark.parametrize(
    "path", ["/nowhere", "/api/nowhere", "/api", "/api/v1/jobs", "/api/v1/music/generate"]
)
async def test_an_unknown_route_is_a_404_that_all_can_read(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.post(path)
    body = answer.json()
    assert (answer.status_code, body["code"], body["data"], body["error"]) == (404, 404, None, body["detail"])


@pytest.mark.parametrize(
    "path",
    ["/v1/training/start", "/v1/dataset/scan", "/v1/transcribe", "/v1/voice/clone", "/api/v1/transcribe"],
)
async def test_what_is_not_served_says_so(http: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "POST"):
        answer = await http.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, 404)
        assert answer.json()["detail"].startswith("This server does not ")


async def test_invalid_fields_are_one_sentence(http: httpx.AsyncClient) -> None:
    fields = {"bpm": [1], "prompt": {"a": 1}}
    answer = await http.post("/release_task", json=fields)
    body = answer.json()
    assert (answer.status_code, body["code"], body["data"], body["error"]) == (422, 422, None, body["detail"])
    assert body["detail"].startswith("caption: ")
    assert "; bpm: " in body["detail"]


async def test_a_failing_part_is_a_503(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise OSError("no such disk")

    monkeypatch.setattr(LocalJobService, "view", fail)
    answer = await http.post("/query_result", json={"task_id": "a"})
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, 503, "5")


async def test_a_fault_of_ours_is_told_in_the_same_form(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr(LocalJobService, "view", fail)
    answer = await http.post("/query_result", json={"task_id": "a"})
    assert (answer.status_code, answer.json()["detail"]) == (500, "Internal server error")
    assert "ZeroDivisionError" in caplog.text
    assert SECRET not in caplog.text


async def test_uploads_are_limited_as_in_the_job_api(http: httpx.AsyncClient) -> None:
    files = {"src_audio": ("a.wav", b"\\0" * 5_000_000)}
    answer = await http.post("/release_task", data={"task_type": "cover"}, files=files)
    assert (answer.status_code, answer.json()["code"]) == (413, 413)
    assert (await http.post("/release_task", files={"ref_audio": ("a.wav", wav_bytes())})).status_code == 200
