"""Batches, usage and purged jobs: the newest parts of the API."""

import datetime
import json
from typing import Any

import pytest

from acestep_client import WaitTimeoutError
from tests.unit.client.answers import QUEUED, SUBMITTED, Answers, refused
from tests.unit.client.conftest import Clock, Connect, done

COUNTS = {"queued": 0, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0}
ENTERED = {"batch_id": "b1", "jobs": [SUBMITTED, {**SUBMITTED, "job_id": "job-2", "queue_position": 2}]}
USED = {
    "jobs": {"succeeded": 3, "failed": 0, "cancelled": 1},
    "audio_seconds": 61.5,
    "codes": 300,
    "engine_seconds": {"language_model": 4.1, "generator": 3.2, "codec": 2.75},
}


def batch(*statuses: str, is_ended: bool = False) -> dict[str, Any]:
    return {
        "batch_id": "b1",
        "is_ended": is_ended,
        "deleted": 0,
        "counts": {status: statuses.count(status) for status in COUNTS},
        "jobs": [{"job_id": f"job-{n}", "status": status} for n, status in enumerate(statuses, 1)],
    }


async def test_a_batch_is_submitted_once_and_waited_for(connect: Connect, clock: Clock) -> None:
    server = Answers(
        refused(503, retry_after="1"),
        ENTERED,
        batch("running", "queued"),
        batch("succeeded", "failed", is_ended=True),
        QUEUED,
    )
    client = connect(server)
    requests = [{"caption": "one", "seed": 5}, {"caption": "two"}]
    entered = await done(client.submit_batch(requests, callback_url="https://me.example/"))
    first, second = (json.loads(request.content) for request in server.requests)
    assert first == second
    assert first == {
        "requests": [{"caption": "one", "seed": 5, "use_random_seed": False}, {"caption": "two"}],
        "callback_url": "https://me.example/",
    }
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1
    assert [job.id for job in entered.jobs] == ["job-1", "job-2"]
    shown: list[int] = []
    ended = await done(entered.wait(lambda now: shown.append(now.counts.running)))
    assert shown == [1, 0]
    assert (ended.counts.succeeded, ended.counts.failed) == (1, 1)
    assert (await done(entered.jobs[0].refresh())).status == "queued"
    assert clock.pauses == [1.0, 2.0]


async def test_a_batch_can_be_found_by_its_id_and_cancelled(connect: Connect) -> None:
    server = Answers(batch("queued", "succeeded"), batch("cancelled", "succeeded", is_ended=True))
    found = connect(server).batch("b1")
    assert found.jobs == []
    await done(found.refresh())
    assert [job.id for job in found.jobs] == ["job-1", "job-2"]
    assert (await done(found.cancel())).is_ended
    assert [request.method for request in server.requests] == ["GET", "DELETE"]


async def test_a_wait_for_a_batch_may_have_an_end(connect: Connect, clock: Clock) -> None:
    server = Answers(*[batch("running")] * 4)
    began = clock.now
    with pytest.raises(WaitTimeoutError, match="b1 has not ended after 5 s"):
        await done(connect(server).batch("b1").wait(timeout=5))
    assert clock.now - began == 5


async def test_usage_is_asked_for_days(connect: Connect) -> None:
    day = {"day": "2026-11-29", **USED}
    answer = {"from": "2026-11-01", "to": "2026-11-30", "days": [day], "total": USED, "budget": None}
    server = Answers(answer, answer)
    client = connect(server)
    used = await done(client.usage(datetime.date(2026, 11, 1), "2026-11-30"))
    assert (used.days[0].jobs.succeeded, used.total.engine_seconds.codec, used.budget) == (3, 2.75, None)
    await done(client.usage())
    first, second = (dict(request.url.params) for request in server.requests)
    assert (first, second) == ({"from": "2026-11-01", "to": "2026-11-30"}, {})


async def test_a_purge_is_told_whether_all_is_gone(connect: Connect) -> None:
    server = Answers({"job_id": "job-1", "complete": False})
    assert (await done(connect(server).job("job-1").purge())).complete is False
    assert dict(server.requests[0].url.params) == {"purge": "true"}
