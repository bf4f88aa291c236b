"""`DELETE /v1/jobs/{id}?purge=true`."""

import httpx
import pytest

from serve_app.jobs.storing.store import StoreError
from tests.unit.api.conftest import LocalJobService
from tests.unit.api.test_jobs import GENERATE, RESULT, submit


async def purge(http: httpx.AsyncClient, job_id: str) -> httpx.Response:
    return await http.delete(f"/v1/jobs/{job_id}", params={"purge": "true"})


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
async def test_a_purged_job_is_unknown(http: httpx.AsyncClient, service: LocalJobService, state: str) -> None:
    job_id, other = await submit(http), await submit(http)
    if state != "queued":
        claim = service.claim()
        if state == "succeeded":
            service.finish(claim, RESULT, ("memory://song",))
    service.purges_complete = state != "running"
    answer = await purge(http, job_id)
    assert (answer.status_code, answer.json()) == (200, {"job_id": job_id, "complete": state != "running"})
    for path in (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/events", f"/v1/audio/{job_id}/0.mp3"):
        assert (await http.get(path)).status_code == 404
    assert [job["job_id"] for job in (await http.get("/v1/jobs")).json()["jobs"]] == [other]
    assert (await http.delete(f"/v1/jobs/{job_id}")).status_code == 404
    assert (await purge(http, job_id)).status_code == (200 if state == "running" else 404)


async def test_a_page_is_full_though_purged_jobs_were_on_it(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    service.purges_complete = False
    ids = []
    for _ in range(3):
        ids.append(await submit(http))
        await http.delete(f"/v1/jobs/{ids[-1]}")
    await purge(http, ids[1])
    page = (await http.get("/v1/jobs", params={"limit": 2})).json()
    assert [job["job_id"] for job in page["jobs"]] == [ids[2], ids[0]]
    assert page["next_cursor"] is None


async def test_a_job_that_is_not_there_is_not_purged(http: httpx.AsyncClient) -> None:
    answer = await purge(http, "nobody")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Job not found"})


async def test_purge_false_is_a_cancellation_and_other_words_are_refused(http: httpx.AsyncClient) -> None:
    job_id = await submit(http)
    assert (await http.delete(f"/v1/jobs/{job_id}?purge=perhaps")).status_code == 422
    answer = await http.delete(f"/v1/jobs/{job_id}?purge=false")
    assert answer.json()["status"] == "cancelled"


async def test_a_key_is_free_again_after_a_purge(http: httpx.AsyncClient, service: LocalJobService) -> None:
    key = {"Idempotency-Key": "mine"}
    first = (await http.post(GENERATE, json={}, headers=key)).json()["job_id"]
    await purge(http, first)
    second = (await http.post(GENERATE, json={"caption": "another"}, headers=key)).json()["job_id"]
    assert second != first
    assert [job.job_id for job in service.jobs] == [second]


async def test_a_purge_that_was_not_stored_is_a_503(
    http: httpx.AsyncClient, service: LocalJobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_job_id: str, _client: str | None) -> None:
        raise StoreError("full")

    monkeypatch.setattr(service, "purge_job", fail)
    answer = await purge(http, await submit(http))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
