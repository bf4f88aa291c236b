"""The trace of a job begins with its submit."""

from typing import Any

import httpx
import pytest

from configs.settings import Settings, TracingSettings
from serve_app.api.app import create_app
from serve_app.storage import AudioStorage
from tests.spans import KeptSpans, context_of
from tests.unit.api.conftest import LocalJobService
from tests.unit.api.test_jobs import GENERATE

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> KeptSpans:
    return KeptSpans("Ingress")


async def submit(
    service: LocalJobService, settings: Settings, storage: AudioStorage, spans: KeptSpans, **headers: str
) -> str:
    app = create_app(service, settings, storage, spans.recorder)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as http:
        answer = await http.post(GENERATE, json={"caption": "piano"}, headers=headers)
    assert answer.status_code == 200
    job_id: str = answer.json()["job_id"]
    return job_id


@pytest.fixture
def traced(settings: Settings, tmp_path: Any) -> Settings:
    return settings.model_copy(update={"tracing": TracingSettings(exporter="file", folder=tmp_path)})


async def test_the_record_keeps_where_the_submit_stands_in_the_trace(
    service: LocalJobService, traced: Settings, storage: AudioStorage, spans: KeptSpans
) -> None:
    job_id = await submit(service, traced, storage, spans)
    (job,) = service.jobs
    assert job.traceparent == context_of(spans.named("submit"))
    assert job.traceparent.split("-")[1] == job_id.replace("-", "")
    assert not spans.named("submit").links


@pytest.mark.parametrize(("header", "links"), [(CLIENT, 1), ("nonsense", 0)])
async def test_the_client_finds_the_job_from_its_own_trace(
    service: LocalJobService,
    traced: Settings,
    storage: AudioStorage,
    spans: KeptSpans,
    header: str,
    links: int,
) -> None:
    await submit(service, traced, storage, spans, traceparent=header)
    found = [f"{link.context.trace_id:032x}" for link in spans.named("submit").links]
    assert found == [CLIENT.split("-")[1]] * links


async def test_a_repeated_submit_begins_no_second_trace(
    service: LocalJobService, traced: Settings, storage: AudioStorage, spans: KeptSpans
) -> None:
    ids = [await submit(service, traced, storage, spans, **{"Idempotency-Key": "one"}) for _ in range(2)]
    assert ids[0] == ids[1]
    assert spans.names == ["submit"]


async def test_a_client_cannot_have_itself_traced(
    service: LocalJobService, traced: Settings, storage: AudioStorage, spans: KeptSpans
) -> None:
    never = traced.tracing.model_copy(update={"sampling_ratio": 0.0})
    settings = traced.model_copy(update={"tracing": never})
    await submit(service, settings, storage, spans, traceparent=CLIENT)
    assert spans.all == []
    assert service.jobs[0].traceparent is None


async def test_the_record_and_the_span_of_the_submit_have_the_id_of_the_request(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    await http.post(GENERATE, json={}, headers={"X-Request-ID": "from-my-client:7"})
    await http.post(GENERATE, json={}, headers={"X-Request-ID": "not usual"})
    await http.post(GENERATE, json={})
    assert [job.request_id for job in service.jobs] == ["from-my-client:7", None, None]
