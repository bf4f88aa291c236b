"""Cancelling, listing, following and repeating jobs."""

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest

from configs.settings import Settings
from serve_app.api.app import create_app
from serve_app.storage import AudioStorage
from tests.unit.api.conftest import LocalJobService
from tests.unit.api.test_jobs import RESULT, poll, submit


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share one application."""
    return shared_http


async def test_cancelling_a_waiting_job(http: httpx.AsyncClient) -> None:
    job_id, behind = await submit(http), await submit(http)
    answer = await http.delete(f"/v1/jobs/{job_id}")
    assert answer.status_code == 200
    job = answer.json()
    assert (job["status"], job["queue_position"], job["eta_seconds"]) == ("cancelled", 0, None)
    assert job["finished_at"] is not None
    assert (job["result"], job["error"]) == (None, None)
    assert await poll(http, job_id) == job
    assert (await poll(http, behind))["queue_position"] == 1
    repeated = await http.delete(f"/v1/jobs/{job_id}")
    assert (repeated.status_code, repeated.json()) == (200, job)


async def test_cancelling_a_running_job_takes_it_from_its_runner(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    job_id = await submit(http)
    claim = service.claim()
    assert (await http.delete(f"/v1/jobs/{job_id}")).json()["status"] == "cancelled"
    assert not service.tracker.heartbeat(job_id, claim.token, "denoising", 0.5)
    assert not service.tracker.finish(job_id, claim.token, RESULT, (), 0)
    assert (await poll(http, job_id))["status"] == "cancelled"


@pytest.mark.parametrize("state", ["succeeded", "failed"])
async def test_an_ended_job_cannot_be_cancelled(
    http: httpx.AsyncClient, service: LocalJobService, state: str
) -> None:
    job_id = await submit(http)
    claim = service.claim()
    if state == "succeeded":
        service.finish(claim, RESULT)
    else:
        service.tracker.fail(job_id, claim.token, "It broke.", retryable=False)
    answer = await http.delete(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.json()) == (409, {"detail": f"The job has already {state}"})
    assert (await poll(http, job_id))["status"] == state


async def test_cancelling_an_unknown_job(http: httpx.AsyncClient) -> None:
    answer = await http.delete("/v1/jobs/nobody")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Job not found"})


async def test_jobs_are_listed_newest_first_in_pages(http: httpx.AsyncClient) -> None:
    ids = [await submit(http) for _ in range(3)]
    seen, cursor, pages = [], None, 0
    while True:
        query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await http.get("/v1/jobs", params=query)).json()
        seen += [job["job_id"] for job in page["jobs"]]
        pages += 1
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == ids[::-1]
    assert pages == 2
    assert (await http.get("/v1/jobs")).json()["jobs"][2] == await poll(http, ids[0])


async def test_without_keys_a_job_is_polled_from_any_address_and_listed_for_its_own(
    http: httpx.AsyncClient, service: LocalJobService, settings: Settings, storage: AudioStorage
) -> None:
    job_id = await submit(http)
    transport = httpx.ASGITransport(create_app(service, settings, storage), client=("198.51.100.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as elsewhere:
        assert (await poll(elsewhere, job_id))["status"] == "queued"
        assert (await elsewhere.get("/v1/jobs")).json()["jobs"] == []
    assert [job["job_id"] for job in (await http.get("/v1/jobs")).json()["jobs"]] == [job_id]


async def test_a_page_that_holds_all_has_no_next_one(http: httpx.AsyncClient) -> None:
    for _ in range(2):
        await submit(http)
    assert (await http.get("/v1/jobs", params={"limit": 2})).json()["next_cursor"] is None


async def test_jobs_are_listed_by_status(http: httpx.AsyncClient, service: LocalJobService) -> None:
    first, second = await submit(http), await submit(http)
    service.claim()
    listed = {}
    for status in ("queued", "running", "cancelled"):
        page = (await http.get("/v1/jobs", params={"status": status})).json()
        listed[status] = [job["job_id"] for job in page["jobs"]]
    assert listed == {"queued": [second], "running": [first], "cancelled": []}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"cursor": "x"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "YmVmb3JlIC0x"}, "cursor"),
        ({"cursor": "YmVmb3JlIDk5OTk5OTk5OTk5OTk5OTk5OTk5"}, "cursor"),
        ({"cursor": "٣" * 10}, "cursor"),
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"status": "lost"}, "status"),
    ],
)
async def test_a_listing_that_cannot_be(http: httpx.AsyncClient, query: dict[str, Any], names: str) -> None:
    answer = await http.get("/v1/jobs", params=query)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", names]


async def follow(http: httpx.AsyncClient, job_id: str, **headers: str) -> list[dict[str, Any]]:
    """Return the events of a job to its end. (This transport delivers them all at once.)"""
    answer = await http.get(f"/v1/jobs/{job_id}/events", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = []
    for block in answer.text.split("\n\n"):
        if block and not block.startswith(":"):
            fields = dict(line.split(": ", 1) for line in block.splitlines())
            events.append({**fields, "data": json.loads(fields["data"])})
    return events


async def live_through(service: LocalJobService, job_id: str) -> None:
    """Run a job in which every change is seen."""
    await service.until_followed(job_id)
    claim = service.claim()
    for progress in (0.25, 0.5):
        await service.until_followed(job_id)
        service.tracker.heartbeat(job_id, claim.token, "denoising", progress)
    await service.until_followed(job_id)
    service.finish(claim, RESULT)


async def test_events_tell_every_change_and_end_with_the_job(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    ahead, job_id = await submit(http), await submit(http)
    following = asyncio.create_task(follow(http, job_id))
    await service.until_followed(job_id)
    await http.delete(f"/v1/jobs/{ahead}")
    await live_through(service, job_id)
    events = await asyncio.wait_for(following, 30)
    assert [
        (event["event"], event["data"]["queue_position"], event["data"]["stage"], event["data"]["progress"])
        for event in events
    ] == [
        ("queued", 2, "queued", 0.0),
        ("queued", 1, "queued", 0.0),
        ("running", 0, "planning", 0.0),
        ("running", 0, "denoising", 0.25),
        ("running", 0, "denoising", 0.5),
        ("succeeded", 0, "done", 1.0),
    ]
    assert len({event["id"] for event in events}) == len(events)
    assert events[-1]["data"] == await poll(http, job_id)
    assert service.waiting == 0


async def test_events_resume_without_repeating(http: httpx.AsyncClient, service: LocalJobService) -> None:
    job_id = await submit(http)
    known = service.tracker.view(job_id).version
    following = asyncio.create_task(follow(http, job_id, **{"Last-Event-ID": known}))
    await live_through(service, job_id)
    events = await asyncio.wait_for(following, 30)
    assert [event["event"] for event in events] == ["running", "running", "running", "succeeded"]


async def test_events_of_an_ended_job(http: httpx.AsyncClient) -> None:
    job_id = await submit(http)
    await http.delete(f"/v1/jobs/{job_id}")
    (event,) = await follow(http, job_id)
    assert event["event"] == "cancelled"
    again = await http.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": event["id"]})
    assert (again.status_code, again.content) == (204, b"")
    (late,) = await follow(http, job_id, **{"Last-Event-ID": "of another time"})
    assert late == event


async def test_events_of_an_unknown_job(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/jobs/nobody/events")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Job not found"})


async def test_a_client_that_leaves_frees_its_wait(
    service: LocalJobService, settings: Settings, storage: AudioStorage, http: httpx.AsyncClient
) -> None:
    job_id = await submit(http)
    left = asyncio.Event()
    sent: list[bytes] = []

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message.get("body", b""))

    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/v1/jobs/{job_id}/events",
        "query_string": b"",
        "headers": [],
    }
    serving = asyncio.create_task(create_app(service, settings, storage)(scope, receive, send))
    await service.until_followed(job_id)
    assert service.waiting == 1
    assert b"event: queued" in b"".join(sent)
    left.set()
    await asyncio.wait_for(serving, 30)
    assert service.waiting == 0
