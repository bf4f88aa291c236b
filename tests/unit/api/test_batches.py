"""`POST /v1/music/batch` and `/v1/batches/{id}`."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile

from configs.settings import JobSettings, Settings
from serve_app.api.app import create_app
from serve_app.api.intake.body import MAX_BATCH_BYTES
from serve_app.storage import AudioStorage
from tests.audio import chord
from tests.unit.api.conftest import LocalJobService
from tests.unit.api.test_jobs import GENERATE, RESULT

BATCH = "/v1/music/batch"


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share one application."""
    return shared_http


@pytest.fixture
def audio_in(shared_audio_in: Path) -> Path:
    return shared_audio_in


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"jobs": JobSettings(queue_limit=1000, client_jobs=1000)})


async def submit(http: httpx.AsyncClient, *requests: dict[str, Any], **fields: Any) -> dict[str, Any]:
    answer = await http.post(BATCH, json={"requests": requests, **fields})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def locations(answer: httpx.Response) -> list[list[Any]]:
    assert answer.status_code == 422, answer.text
    return [error["loc"] for error in answer.json()["detail"]]


async def test_the_jobs_of_a_batch_are_those_of_its_requests(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    told = await submit(http, {"prompt": "one", "batchSize": 1}, {"caption": "two", "metas": {"bpm": 90}})
    assert [(job["status"], job["queue_position"]) for job in told["jobs"]] == [("queued", 1), ("queued", 2)]
    assert [job.job_id for job in service.jobs] == [job["job_id"] for job in told["jobs"]]
    assert [job.spec.request.caption for job in service.jobs] == ["one", "two"]
    assert service.jobs[1].spec.request.bpm == 90
    service.finish(service.claim(), RESULT)
    answer = await http.get(f"/v1/batches/{told['batch_id']}")
    assert answer.json() == {
        "batch_id": told["batch_id"],
        "is_ended": False,
        "deleted": 0,
        "counts": {"queued": 1, "running": 0, "succeeded": 1, "failed": 0, "cancelled": 0},
        "jobs": [
            {"job_id": told["jobs"][0]["job_id"], "status": "succeeded"},
            {"job_id": told["jobs"][1]["job_id"], "status": "queued"},
        ],
    }
    cancelled = (await http.delete(f"/v1/batches/{told['batch_id']}")).json()
    assert (cancelled["is_ended"], cancelled["counts"]["cancelled"]) == (True, 1)


async def test_a_thousand_requests_are_one_batch(http: httpx.AsyncClient, service: LocalJobService) -> None:
    told = await submit(
        http, *({"caption": f"song {number}", "metas": {"bpm": 90}} for number in range(1000))
    )
    assert len(told["jobs"]) == len(service.jobs) == 1000
    refused = await http.post(BATCH, json={"requests": [{}]})
    assert (refused.status_code, "queue is full" in refused.text) == (429, True)


async def test_one_bad_request_refuses_all_and_is_named(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    answer = await http.post(BATCH, json={"requests": [{}, {"bpm": -1}, {}]})
    assert locations(answer) == [["body", "requests", 1, "bpm"]]
    answer = await http.post(BATCH, json={"requests": [{}, {}, {"audio_duration": 10_000}]})
    assert locations(answer) == [["body", "requests", 2, "audio_duration"]]
    answer = await http.post(BATCH, json={"requests": [{}, "song"]})
    assert locations(answer) == [["body", "requests", 1]]
    answer = await http.post(BATCH, json={"requests": [{}, {"priority": 9}]})
    assert locations(answer) == [["body", "requests", 1, "priority"]]
    assert service.jobs == []


@pytest.mark.parametrize(
    "body", [{}, {"requests": []}, {"requests": {}}, {"requests": None}, {"requests": [{}] * 1001}]
)
async def test_a_batch_has_one_to_a_thousand_requests(http: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert locations(await http.post(BATCH, json=body)) == [["body", "requests"]]


async def test_a_batch_that_never_fits_is_a_422_and_one_that_does_not_fit_now_a_429(
    service: LocalJobService, settings: Settings, storage: AudioStorage
) -> None:
    small = settings.model_copy(update={"jobs": JobSettings(queue_limit=3)})
    service = LocalJobService(small.jobs)
    transport = httpx.ASGITransport(create_app(service, small, storage))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        assert locations(await http.post(BATCH, json={"requests": [{}] * 4})) == [["body", "requests"]]
        await submit(http, {}, {})
        refused = await http.post(BATCH, json={"requests": [{}] * 2})
        assert (refused.status_code, "room for 1 more" in refused.text) == (429, True)
        assert "ratelimit" in refused.headers
        assert len(service.jobs) == 2


async def test_strictness_and_the_callback_hold_for_the_batch(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    strict = {"X-Strict": "1"}
    answer = await http.post(BATCH, json={"requests": [{"captoin": "x"}]}, headers=strict)
    assert locations(answer) == [["body", "requests", 0, "captoin"]]
    answer = await http.post(BATCH, json={"requests": [{}], "callback": "x"}, headers=strict)
    assert locations(answer) == [["body", "callback"]]
    for url in ("ftp://example.org", "http://127.0.0.1/", 5):
        answer = await http.post(BATCH, json={"requests": [{}], "callback_url": url})
        assert locations(answer) == [["body", "callback_url"]]
    await submit(http, {}, callbackUrl="https://example.org/hook")
    assert service.jobs[0].batch is not None
    assert service.jobs[0].batch.callback_url == "https://example.org/hook"


async def test_a_repeated_batch_is_the_same_and_another_one_a_conflict(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    key = {"Idempotency-Key": "once"}
    first = await http.post(BATCH, json={"requests": [{"caption": "a"}, {"caption": "b"}]}, headers=key)
    again = await http.post(BATCH, json={"requests": [{"prompt": "a"}, {"prompt": "b"}]}, headers=key)
    assert again.json()["batch_id"] == first.json()["batch_id"]
    assert [job["job_id"] for job in again.json()["jobs"]] == [job["job_id"] for job in first.json()["jobs"]]
    assert len(service.jobs) == 2
    other = await http.post(BATCH, json={"requests": [{"caption": "a"}]}, headers=key)
    assert other.status_code == 409
    assert (await http.post(GENERATE, json={"caption": "a"}, headers=key)).status_code == 409


@pytest.mark.parametrize("limit", ["queue_limit", "client_jobs"])
async def test_a_batch_that_is_repeated_is_not_refused_where_no_job_may_enter(
    service: LocalJobService,
    settings: Settings,
    storage: AudioStorage,
    audio_in: Path,
    stored_files: Any,
    limit: str,
) -> None:
    small = settings.model_copy(update={"jobs": JobSettings(**{limit: 3})})
    api = small.api.model_copy(update={"audio_roots": (audio_in,)})
    service = LocalJobService(small.jobs)
    app = create_app(service, small.model_copy(update={"api": api}), storage)
    soundfile.write(audio_in / "a.wav", chord(2.0, 8_000), 8_000)
    cover = {"task_type": "cover", "src_audio_path": str(audio_in / "a.wav")}
    requests = [{**cover, "caption": caption} for caption in "ab"]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as http:

        async def send(key: str) -> httpx.Response:
            return await http.post(BATCH, json={"requests": requests}, headers={"Idempotency-Key": key})

        first = await send("once")
        assert (await http.post(GENERATE, json={})).status_code == 200
        kept = stored_files()
        assert (await send("another")).status_code == 429
        again = await send("once")
        assert (again.status_code, again.json().get("batch_id")) == (200, first.json()["batch_id"])
    assert len(service.jobs) == 3
    assert stored_files() == kept


async def test_recordings_are_named_and_nothing_stays_of_those_of_a_refused_batch(
    http: httpx.AsyncClient, service: LocalJobService, audio_in: Path, stored_files: Any
) -> None:
    soundfile.write(audio_in / "a.wav", chord(2.0, 8_000), 8_000)
    cover = {"task_type": "cover", "src_audio_path": str(audio_in / "a.wav")}
    answer = await http.post(BATCH, json={"requests": [cover, {**cover, "src_audio_path": "/no/such.wav"}]})
    assert locations(answer) == [["body", "requests", 1, "src_audio_path"]]
    assert stored_files() == []
    await submit(http, cover, {}, cover)
    assert len(stored_files()) == 2
    assert service.jobs[0].spec.source is not None
    answer = await http.post(BATCH, json={"requests": [cover] * 65})
    assert locations(answer) == [["body", "requests"]]


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=c"]
)
async def test_a_batch_is_json(http: httpx.AsyncClient, content_type: str) -> None:
    answer = await http.post(BATCH, content=b"requests=1", headers={"Content-Type": content_type})
    assert answer.status_code == 415


async def test_a_batch_that_is_too_large_is_refused(http: httpx.AsyncClient) -> None:
    padded = json.dumps({"requests": [{"caption": "x"}], "x": "y" * MAX_BATCH_BYTES})
    json_type = {"Content-Type": "application/json"}
    assert (await http.post(BATCH, content=padded, headers=json_type)).status_code == 413
    nested = {"requests": [{"metas": {"a": []}} for _ in range(1000)], "x": [[]] * 1000}
    assert (await http.post(BATCH, json=nested)).status_code == 400


async def test_an_unknown_batch_is_a_404(http: httpx.AsyncClient) -> None:
    for batch_id in ("nobody", "b0.1." + "0" * 20):
        for ask in (http.get, http.delete):
            answer = await ask(f"/v1/batches/{batch_id}")
            assert (answer.status_code, answer.json()) == (404, {"detail": "Batch not found"})
