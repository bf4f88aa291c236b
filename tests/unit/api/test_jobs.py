"""Submitting, polling, the longest prompt, and errors inside the server."""

import asyncio
import logging
import time
from typing import Any

import httpx
import pytest

from serve_app.jobs.durable_tracker import DISK_FULL
from serve_app.jobs.errors import NoRoomError
from serve_app.jobs.model import Accepted, JobView, NewJob
from serve_app.jobs.storing.store import StoreError
from tests.unit.api.conftest import LocalJobService

GENERATE = "/v1/music/generate"
RESULT: dict[str, Any] = {
    "first_audio_path": "/v1/audio/x/0.mp3",
    "second_audio_path": None,
    "audio_paths": ["/v1/audio/x/0.mp3"],
    "generation_info": "Steps: 8, Scale: 7.0",
    "status_message": "✅ Generation completed successfully!",
    "seed_value": "12345",
    "bpm": 72,
    "duration": 10.0,
    "genres": None,
    "keyscale": "C Major",
    "timesignature": None,
    "metas": {"bpm": 72},
    "lm_model": None,
    "dit_model": "acestep-v15-turbo",
    "audio_codes": [None],
    "timings": {"denoising": 1.5},
    "adapters": [],
    "sampling": "2026-08",
    "lyric_timestamps": None,
}


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share one application."""
    return shared_http


async def submit(http: httpx.AsyncClient, **fields: Any) -> str:
    answer = await http.post(GENERATE, json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["job_id"]


async def poll(http: httpx.AsyncClient, job_id: str, **query: Any) -> dict[str, Any]:
    answer = await http.get(f"/v1/jobs/{job_id}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_queued_job(http: httpx.AsyncClient) -> None:
    await submit(http)
    job_id = await submit(http)
    before = time.time()
    job = await poll(http, job_id)
    assert job.pop("created_at") == pytest.approx(before, abs=5)
    assert job == {
        "job_id": job_id,
        "status": "queued",
        "started_at": None,
        "finished_at": None,
        "queue_position": 2,
        "eta_seconds": 10.0,
        "avg_job_seconds": 5.0,
        "progress": 0.0,
        "stage": "queued",
        "result": None,
        "error": None,
        "expires_at": None,
    }


async def test_a_job_through_its_life(http: httpx.AsyncClient, service: LocalJobService) -> None:
    job_id = await submit(http)
    keys = set(await poll(http, job_id))
    claim = service.claim()
    service.tracker.heartbeat(job_id, claim.token, "denoising", 0.25)
    job = await poll(http, job_id)
    assert (job["status"], job["stage"], job["progress"], job["queue_position"]) == (
        "running",
        "denoising",
        0.25,
        0,
    )
    assert job["started_at"] is not None
    service.finish(claim, RESULT)
    job = await poll(http, job_id)
    assert (job["status"], job["stage"], job["progress"], job["result"]) == ("succeeded", "done", 1.0, RESULT)
    assert job["finished_at"] is not None
    assert job["eta_seconds"] is None
    assert set(job) == keys


async def test_a_failed_job(http: httpx.AsyncClient, service: LocalJobService) -> None:
    job_id = await submit(http)
    claim = service.claim()
    service.tracker.fail(job_id, claim.token, "The sound was silent.", retryable=False)
    job = await poll(http, job_id)
    assert (job["status"], job["error"], job["result"]) == ("failed", "The sound was silent.", None)


@pytest.mark.parametrize(
    "job_id", ["nobody", "550e8400-e29b-41d4-a716-446655440000", "%F0%9F%8E%B5", "'; --"]
)
async def test_an_unknown_job(http: httpx.AsyncClient, job_id: str) -> None:
    for query in ({}, {"wait": 5}):
        answer = await http.get(f"/v1/jobs/{job_id}", params=query)
        assert (answer.status_code, answer.json()) == (404, {"detail": "Job not found"})


async def test_wait_answers_when_the_stage_changes(http: httpx.AsyncClient, service: LocalJobService) -> None:
    job_id = await submit(http)
    waiting = asyncio.create_task(poll(http, job_id, wait=30))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    service.claim()
    job = await asyncio.wait_for(waiting, 5)
    assert (job["status"], job["stage"]) == ("running", "planning")


async def test_a_poll_that_waits_asks_the_tracker_once(
    http: httpx.AsyncClient, service: LocalJobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await submit(http)
    asked: list[tuple[str, str | None, float]] = []
    wait_change = service.wait_change

    async def counted(*question: Any) -> JobView | None:
        asked.append(question)
        return await wait_change(*question)

    monkeypatch.setattr(service, "wait_change", counted)
    monkeypatch.setattr(service, "view", None)  # nothing else may be asked
    await poll(http, job_id, wait=0.05)
    assert asked == [(job_id, None, 0.05)]


async def test_wait_ends_with_its_time(http: httpx.AsyncClient) -> None:
    job_id = await submit(http)
    started = time.monotonic()
    job = await asyncio.wait_for(poll(http, job_id, wait=0.2), 60)
    assert job["status"] == "queued"
    assert time.monotonic() - started >= 0.2


async def test_wait_for_a_finished_job_answers_at_once(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    job_id = await submit(http)
    service.finish(service.claim(), RESULT)
    job = await asyncio.wait_for(poll(http, job_id, wait=60), 5)
    assert job["status"] == "succeeded"


async def test_texts_that_surely_fit_are_not_counted(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    service.long_prompts_fit = False
    await submit(http, caption="x" * 2_048, lyrics="y" * 16_384)
    assert service.counted == []


@pytest.mark.parametrize(("fits", "status"), [(True, 200), (False, 422)])
async def test_a_text_that_leaves_no_room_for_the_codes_is_refused(
    http: httpx.AsyncClient, service: LocalJobService, fits: bool, status: int
) -> None:
    """The server of these tests makes songs of 20 s, which are 100 codes."""
    service.long_prompts_fit = fits
    answer = await http.post(GENERATE, json={"lyrics": "𝄞" * 16_384})
    assert answer.status_code == status
    ((request, code_count),) = service.counted
    assert (len(request.lyrics), code_count) == (16_384, 100)
    if not fits:
        assert answer.json()["detail"][0]["loc"] == ["body", "lyrics"]
        assert service.jobs == []


@pytest.mark.parametrize(("guided", "counted"), [(False, 0), (True, 1)])
async def test_guided_metadata_takes_the_lyrics_twice(
    http: httpx.AsyncClient, service: LocalJobService, guided: bool, counted: int
) -> None:
    await submit(http, caption="x" * 2_048, lyrics="y" * 16_384, lm_guide_metadata=guided)
    assert len(service.counted) == counted


async def test_a_full_queue(http: httpx.AsyncClient, service: LocalJobService) -> None:
    for _ in range(3):
        await submit(http)
    answer = await http.post(GENERATE, json={})
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert len(service.jobs) == 3


async def test_a_bug_is_a_500_without_insides(
    http: httpx.AsyncClient,
    service: LocalJobService,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(new: NewJob) -> Accepted:
        raise RuntimeError(f"no place for {new.spec.request.caption}")

    monkeypatch.setattr(service, "submit", broken)
    caplog.set_level(logging.DEBUG, logger="ray.serve")
    answer = await http.post(GENERATE, json={"caption": "secret love"})
    assert (answer.status_code, answer.json()) == (500, {"detail": "Internal server error"})
    shown = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert "secret love" not in str(shown)
    assert "POST /v1/music/generate failed" in str(shown)
    assert "in broken" in str(shown)
    assert "secret love" in caplog.text  # This level is meant for debugging.


async def test_a_server_without_room_refuses_new_jobs_and_says_why(
    http: httpx.AsyncClient, service: LocalJobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_new: object) -> None:
        raise NoRoomError(DISK_FULL)

    job_id = (await http.post(GENERATE, json={})).json()["job_id"]
    monkeypatch.setattr(service, "submit", full)
    answer = await http.post(GENERATE, json={})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    assert answer.json()["detail"] == f"{DISK_FULL}; try again in 30 s"
    assert (await http.get(f"/v1/jobs/{job_id}")).status_code == 200


async def test_a_store_that_is_away(
    http: httpx.AsyncClient, service: LocalJobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StoreError("disk full at a path of the server")

    for method in ("submit", "view"):
        monkeypatch.setattr(service, method, away)
    for answer in (await http.post(GENERATE, json={}), await http.get("/v1/jobs/nobody")):
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert "path" not in answer.text


async def test_a_job_is_kept_for_no_longer_than_the_server_keeps_jobs(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    answer = await http.post(GENERATE, json={"keep_seconds": 8 * 24 * 3600})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "keep_seconds"]
    job_id = await submit(http, keep_seconds=60)
    service.finish(service.claim(), RESULT)
    job = await poll(http, job_id)
    assert job["expires_at"] == job["finished_at"] + 60


async def test_a_job_that_may_not_wait_fails(http: httpx.AsyncClient, service: LocalJobService) -> None:
    job_id = await submit(http, startWithinSeconds="0.01")
    await asyncio.sleep(0.02)
    service.tracker.fail_late()
    job = await poll(http, job_id)
    assert job["status"] == "failed"
    assert "0.01 s" in job["error"]
