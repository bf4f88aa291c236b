"""Submits with `Prefer: wait=N` (RFC 7240)."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from configs.settings import Settings
from serve_app.api.app import create_app
from serve_app.api.intake.preferences import MAX_WAIT_SECONDS, preferred_wait
from serve_app.jobs.storing.store import StoreError
from serve_app.storage import AudioStorage
from tests.asgi_client import SOON, Asking, until
from tests.unit.api.conftest import LocalJobService, wav_bytes
from tests.unit.api.test_jobs import GENERATE, RESULT, poll

JSON = {"Content-Type": "application/json"}


def prefer(seconds: object) -> dict[str, str]:
    return {"Prefer": f"wait={seconds}"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (["wait=5"], 5),
        (["WAIT = 5"], 5),
        (['wait="5"'], 5),
        (["respond-async, wait=5; speed=high"], 5),
        (['note="a, wait=9", wait=5'], 5),
        (['note="a \\" b, wait=9", wait=5'], 5),
        (['note="a \\\\", wait=5'], 5),
        (['a="1"; b="2, wait=9", wait=5'], 5),
        (['wait=5; note="a, b"'], 5),
        (['wait="5" , note="open'], 5),
        ([", ,wait=5,"], 5),
        (["return=minimal", "wait=5"], 5),
        (["wait=5, wait=7"], 5),
        (["wait=0"], 0),
        ([f"wait={MAX_WAIT_SECONDS + 1}"], MAX_WAIT_SECONDS),
        (["wait=999999999"], MAX_WAIT_SECONDS),
        ([], None),
        (None, None),
        ([""], None),
        (["wait"], None),
        (["wait=soon"], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["waiting=5"], None),
        (['"wait=5"'], None),
        (['wait="5'], None),
        (['note="open, wait=5'], None),
        (['note="open \\", wait=5'], None),
        (['note="open, wait=5, b\\'], None),
        (['note="a" "open, wait=5'], None),
        (['note="a" wait=5'], None),
        (['note="open', "wait=5"], 5),
    ],
)
def test_the_preference_is_read_as_the_rfc_says(headers: list[str] | None, seconds: int | None) -> None:
    assert preferred_wait(headers) == seconds


@pytest.mark.parametrize("end", ["", "\\"], ids=repr)
@pytest.mark.parametrize("piece", ['\\"', '"', '",', "wait=,"], ids=repr)
def test_the_preference_is_read_in_time_that_grows_with_its_length(piece: str, end: str) -> None:
    """Escaped quotes after a quote without an end were once read again from each of them."""

    def seconds(pieces: int) -> float:
        header = 'note="' + pieces * piece + end
        tries = []
        for _ in range(5):
            start = time.process_time()
            preferred_wait([header])
            tries.append(time.process_time() - start)
        return min(tries)

    assert seconds(8_000) < 24 * seconds(1_000)


async def test_the_answer_is_the_poll_of_the_finished_job(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    asked = asyncio.create_task(http.post(GENERATE, json={}, headers=prefer(30)))
    await service.until_waiting(1)
    service.finish(service.claim(), RESULT)
    answer = await asyncio.wait_for(asked, SOON)
    job = answer.json()
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=30")
    assert job["status"] == "succeeded"
    assert job["result"] is not None
    assert job == await poll(http, job["job_id"])
    assert service.waiting == 0


async def test_a_stage_does_not_end_the_wait(http: httpx.AsyncClient, service: LocalJobService) -> None:
    asked = asyncio.create_task(http.post(GENERATE, json={}, headers=prefer(30)))
    await service.until_waiting(1)
    claim = service.claim()
    service.tracker.heartbeat(claim.job.job_id, claim.token, "denoising", 0.5)
    await asyncio.sleep(0.05)
    assert not asked.done()
    service.finish(claim, RESULT)
    assert (await asyncio.wait_for(asked, SOON)).json()["status"] == "succeeded"


@pytest.mark.parametrize("seconds", [0, 1])
async def test_after_the_time_the_answer_is_the_job_as_it_stands(
    http: httpx.AsyncClient, seconds: int
) -> None:
    answer = await http.post(GENERATE, json={}, headers=prefer(seconds))
    assert answer.headers["preference-applied"] == f"wait={seconds}"
    assert answer.json()["status"] == "queued"
    assert answer.json() == await poll(http, answer.json()["job_id"]) | {
        "eta_seconds": answer.json()["eta_seconds"]
    }


async def test_a_failed_job_is_an_answer_too(http: httpx.AsyncClient, service: LocalJobService) -> None:
    asked = asyncio.create_task(http.post(GENERATE, json={}, headers=prefer(30)))
    await service.until_waiting(1)
    claim = service.claim()
    service.tracker.fail(claim.job.job_id, claim.token, "It broke.", retryable=False)
    answer = await asyncio.wait_for(asked, SOON)
    assert (answer.status_code, answer.json()["error"]) == (200, "It broke.")


@pytest.mark.parametrize("header", [None, "respond-async", "wait=soon"])
async def test_other_submits_are_answered_as_ever(http: httpx.AsyncClient, header: str | None) -> None:
    answer = await http.post(GENERATE, json={}, headers={} if header is None else {"Prefer": header})
    assert "preference-applied" not in answer.headers
    assert answer.json().keys() == {"job_id", "status", "queue_position"}


async def test_a_description_can_be_waited_for(http: httpx.AsyncClient, service: LocalJobService) -> None:
    file = {"src_audio": ("a.wav", wav_bytes())}
    asked = asyncio.create_task(http.post("/v1/music/understand", files=file, headers=prefer(30)))
    await service.until_waiting(1)
    service.finish(service.claim(), {**RESULT, "audio_paths": []})
    answer = await asyncio.wait_for(asked, SOON)
    assert (answer.headers["preference-applied"], answer.json()["status"]) == ("wait=30", "succeeded")


async def test_a_refused_submit_does_not_wait(http: httpx.AsyncClient, service: LocalJobService) -> None:
    answer = await http.post(GENERATE, json={"bpm": -5}, headers=prefer(30))
    assert answer.status_code == 422
    assert "preference-applied" not in answer.headers
    assert service.jobs == []


async def test_the_id_is_told_where_the_job_cannot_be_read(
    http: httpx.AsyncClient, service: LocalJobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise StoreError("the store is away")

    monkeypatch.setattr(service, "wait_end", away)
    answer = await http.post(GENERATE, json={}, headers=prefer(30))
    assert answer.status_code == 200
    assert "preference-applied" not in answer.headers
    assert answer.json()["job_id"] == service.jobs[0].job_id


async def test_a_repeated_submit_waits_for_the_same_job(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    key = {"Idempotency-Key": "once"}
    job_id = (await http.post(GENERATE, json={}, headers=key)).json()["job_id"]
    asked = asyncio.create_task(http.post(GENERATE, json={}, headers=key | prefer(30)))
    await service.until_waiting(1)
    service.finish(service.claim(), RESULT)
    assert (await asyncio.wait_for(asked, SOON)).json()["job_id"] == job_id
    assert len(service.jobs) == 1


async def test_a_wait_is_one_of_the_client_s_long_polls_and_is_refused_before_its_job_is_accepted(
    service: LocalJobService, settings: Settings, storage: AudioStorage
) -> None:
    api = settings.api.model_copy(update={"client_requests": 1})
    app = create_app(service, settings.model_copy(update={"api": api}), storage)

    def ask() -> Asking:
        asking = Asking(app, "POST", GENERATE, JSON | prefer(30))
        asking.send(json.dumps({}).encode(), more=False)
        return asking

    first = ask()
    await service.until_waiting(1)
    refused = ask()
    await asyncio.wait_for(refused.answered, SOON)
    assert refused.status == 429
    assert "long polls" in refused.body.decode()
    assert len(service.jobs) == 1
    plain = Asking(app, "POST", GENERATE, JSON)  # the body of the first is read, so its slot is free
    plain.send(b"{}", more=False)
    await asyncio.wait_for(plain.answered, SOON)
    assert plain.status == 200
    first.leave()
    await asyncio.wait_for(first.answered, SOON)


async def test_a_client_that_leaves_ends_its_wait_and_not_its_job(
    service: LocalJobService, settings: Settings, storage: AudioStorage
) -> None:
    asking = Asking(create_app(service, settings, storage), "POST", GENERATE, JSON | prefer(60))
    asking.send(b"{}", more=False)
    await service.until_waiting(1)
    asking.leave()
    await asyncio.wait_for(asking.answered, SOON)
    await until(lambda: service.waiting == 0)
    assert [job.state for job in service.jobs] == ["queued"]
