"""A repeated request with the same `Idempotency-Key` gives the same job."""

from typing import Any

import httpx
import pytest

from serve_app.api.intake.submission import _fingerprint
from serve_app.request.schemas import GenerateRequest
from tests.unit.api.conftest import LocalJobService, wav_bytes
from tests.unit.api.test_jobs import GENERATE, submit

COVER = {"task_type": "cover"}


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share one application."""
    return shared_http


async def test_a_repeated_request_is_the_same_job(
    http: httpx.AsyncClient, service: LocalJobService, stored_files: Any
) -> None:
    key = {"Idempotency-Key": "song-1"}
    ahead = await submit(http)
    upload = {"src_audio": ("a.wav", wav_bytes())}
    first = (await http.post(GENERATE, data=COVER, files=upload, headers=key)).json()
    kept = stored_files()
    assert (first["status"], first["queue_position"]) == ("queued", 2)
    for spelling in (COVER, {"taskType": "cover", "bpm": ""}):
        again = (await http.post(GENERATE, data=spelling, files=upload, headers=key)).json()
        assert again == first
    await http.delete(f"/v1/jobs/{ahead}")
    service.claim()
    again = (await http.post(GENERATE, data=COVER, files=upload, headers=key)).json()
    assert again == {"job_id": first["job_id"], "status": "running", "queue_position": 0}
    assert len(service.jobs) == 2
    assert stored_files() == kept


@pytest.mark.parametrize(
    "fields", [{"bpm": 120}, {"caption": "b"}, {"seed": 5}, {"batch_size": 1}, {"audio_code_string": "1"}]
)
async def test_another_request_under_the_same_key(http: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    key = {"Idempotency-Key": "song-1"}
    assert (await http.post(GENERATE, json={}, headers=key)).status_code == 200
    answer = await http.post(GENERATE, json=fields, headers=key)
    assert answer.status_code == 409
    assert "Idempotency-Key" in answer.json()["detail"]


async def test_a_default_that_is_written_out_is_the_same_request(http: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "song-1"}
    first = (await http.post(GENERATE, json={}, headers=key)).json()
    again = await http.post(GENERATE, json={"inference_steps": 8, "model": None}, headers=key)
    assert again.json()["job_id"] == first["job_id"]


def test_a_field_of_a_later_release_makes_no_other_request_of_an_earlier_one() -> None:
    class LaterRequest(GenerateRequest):
        mood: str = ""

    fingerprint = _fingerprint(GenerateRequest(caption="calm piano", seed=5), {})
    assert _fingerprint(LaterRequest(caption="calm piano", seed=5), {}) == fingerprint
    assert _fingerprint(LaterRequest(caption="calm piano", seed=5, mood="sad"), {}) != fingerprint


async def test_another_upload_under_the_same_key(http: httpx.AsyncClient, stored_files: Any) -> None:
    statuses = []
    for upload in (wav_bytes(1.0), wav_bytes(1.0, 0.4), wav_bytes(1.0)):
        files = {"src_audio": ("a.wav", upload)}
        answer = await http.post(GENERATE, data=COVER, files=files, headers={"Idempotency-Key": "song"})
        statuses.append(answer.status_code)
    assert statuses == [200, 409, 200]
    assert len(stored_files()) == 1


async def test_a_source_is_not_a_reference(http: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "song-1"}
    statuses = [
        (await http.post(GENERATE, files={name: ("a.wav", wav_bytes())}, headers=key)).status_code
        for name in ("src_audio", "reference_audio")
    ]
    assert statuses == [200, 409]


@pytest.mark.parametrize("key", ["", " ", "two words", "x" * 256, "é", "\x7f"])
async def test_what_is_no_idempotency_key(
    http: httpx.AsyncClient, service: LocalJobService, key: str
) -> None:
    answer = await http.post(GENERATE, json={}, headers={"Idempotency-Key": key.encode()})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["header", "idempotency-key"]
    assert service.jobs == []


@pytest.mark.parametrize("key", ["x", "x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "!~"])
async def test_what_is_an_idempotency_key(http: httpx.AsyncClient, key: str) -> None:
    assert (await http.post(GENERATE, json={}, headers={"Idempotency-Key": key})).status_code == 200
