"""The client and the real API in one process: each understands what the other says."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from acestep_client import (
    AsyncClient,
    BusyError,
    ConflictError,
    InvalidRequestError,
    JobCancelledError,
    NotFoundError,
    Retries,
)
from configs.settings import Settings
from serve_app.api.app import create_app
from serve_app.request.schemas import Output
from serve_app.storage import AudioStorage
from tests.unit.api.conftest import LocalJobService, wav_bytes


@pytest.fixture
async def client(
    service: LocalJobService, settings: Settings, storage: AudioStorage
) -> AsyncIterator[AsyncClient]:
    transport = httpx.ASGITransport(create_app(service, settings, storage), raise_app_exceptions=False)
    async with AsyncClient("http://server", transport=transport, retries=Retries(0)) as client:
        yield client


async def test_values_of_all_types_arrive_as_they_were_given(
    client: AsyncClient, service: LocalJobService
) -> None:
    fields: dict[str, Any] = {
        "lyrics": "[Verse]\nä \u2028 ♯",
        "thinking": True,
        "bpm": None,
        "audio_duration": 2.5,
        "timesteps": [1.0, 0.6, 0.3],
        "track_classes": ["drums", "bass"],
        "audio_code_string": ["1,2,3", "4,5,6"],
        "batch_size": 2,
        "seed": "7,8",
    }
    await client.generate("a song", **fields)
    as_json = service.last
    await client.generate("a song", reference_audio=wav_bytes(), **fields)
    as_form = service.last
    for spec in (as_json, as_form):
        request = spec.request
        assert request.lyrics == fields["lyrics"]
        assert (request.thinking, request.bpm, request.audio_duration) == (True, None, 2.5)
        assert request.timesteps == (1.0, 0.6, 0.3)
        assert request.track_classes == ("drums", "bass")
        assert spec.codes == ((1, 2, 3), (4, 5, 6))
        assert spec.seeds == (7, 8)
    assert as_json.reference is None
    assert as_form.reference is not None
    await client.cover(wav_bytes(), "louder")
    assert (service.last.request.task_type, service.last.source is None) == ("cover", False)


async def test_a_misspelt_field_is_named(client: AsyncClient) -> None:
    fields: Any = {"captoin": "a song"}
    with pytest.raises(InvalidRequestError) as told:
        await client.generate(**fields)
    assert [problem.field for problem in told.value.problems] == ["captoin"]
    with pytest.raises(InvalidRequestError, match="bpm"):
        await client.generate("a song", bpm=5000)


async def test_the_same_key_is_the_same_job(client: AsyncClient) -> None:
    first = await client.generate("a song", idempotency_key="k")
    again = await client.generate("a song", idempotency_key="k")
    assert again.id == first.id
    with pytest.raises(ConflictError, match="another request"):
        await client.generate("another song", idempotency_key="k")


async def test_jobs_are_followed_listed_and_cancelled(client: AsyncClient, service: LocalJobService) -> None:
    job, other = await client.generate("a song"), await client.generate("another")
    events: list[Any] = []

    async def follow() -> None:
        events.extend([event async for event in job.events()])

    following = asyncio.create_task(follow())
    await service.until_followed(job.id)
    claim = service.claim()
    await service.until_followed(job.id)
    assert (await other.refresh()).queue_position == 1
    assert (await other.cancel()).status == "cancelled"
    with pytest.raises(JobCancelledError):
        await other.wait()
    assert [known.id async for known in client.jobs()] == [other.id, job.id]
    assert [known.id async for known in client.jobs("running")] == [job.id]
    assert service.tracker.fail(job.id, claim.token, "It failed", False)
    await following
    assert [event.status for event in events][-1] == "failed"
    assert events[-1].error == "It failed"
    with pytest.raises(ConflictError):
        await job.cancel()
    with pytest.raises(NotFoundError):
        await client.job("unknown").refresh()


async def test_a_full_queue_is_an_error_that_says_when_to_try_again(client: AsyncClient) -> None:
    for number in range(3):
        await client.generate(f"song {number}")
    with pytest.raises(BusyError) as told:
        await client.generate("one too many")
    assert told.value.retry_after is not None
    assert told.value.retry_after >= 1


async def test_songs_as_text_analyses_and_the_server_itself(
    client: AsyncClient, service: LocalJobService
) -> None:
    assert (await client.sample("a slow waltz", instrumental=True)).lyrics == "[Instrumental]"
    assert (await client.format("a waltz", "la la")).bpm == 90
    await client.understand(wav_bytes())
    assert service.last.request.output is Output.DESCRIPTION
    assert (await client.models()).default_model in {model.name for model in (await client.models()).models}
    assert (await client.stats()).queue_limit == 3
    assert (await client.condition()).status == "ready"


async def test_the_newest_parts_of_the_api(client: AsyncClient) -> None:
    job = await client.generate("a song", start_within_seconds=60, keep_seconds=100)
    assert (await job.refresh()).expires_at is None
    assert (await client.usage("2026-11-01", "2026-11-30")).days == []
    batch = await client.submit_batch([{"caption": "one"}, {"caption": "two", "seed": 5}])
    assert (await batch.refresh()).counts.queued == 2
    assert (await batch.cancel()).counts.cancelled == 2
    assert (await batch.wait()).is_ended
    with pytest.raises(InvalidRequestError) as told:
        await client.submit_batch([{"caption": "a"}, {"bpm": 9999}])
    assert [problem.field for problem in told.value.problems] == ["requests.1.bpm"]
    assert (await job.purge()).complete
    with pytest.raises(NotFoundError):
        await job.refresh()
