"""The waiting clients of `benchmarks.readers` against the real API."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from benchmarks.plain_http import AnswerError
from benchmarks.readers.clients import LONG_POLLS, NEWS, STREAMS, WaitingClients, until_begun, waiting_clients
from configs.settings import Settings
from serve_app.api.app import create_app
from serve_app.storage import AudioStorage
from tests.asgi_client import until
from tests.unit.api.conftest import LocalJobService
from tests.unit.api.served import served
from tests.unit.api.test_jobs import RESULT

CLIENTS = 6
TIMEOUT = 60.0


@pytest.fixture
async def http(
    service: LocalJobService, settings: Settings, storage: AudioStorage
) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        served(create_app(service, settings, storage)) as url,
        httpx.AsyncClient(base_url=url, timeout=TIMEOUT) as http,
    ):
        yield http


async def submitted(http: httpx.AsyncClient) -> str:
    answer = await http.post("/v1/music/generate", json={"caption": "calm piano"})
    return answer.raise_for_status().json()["job_id"]


def clients_of(http: httpx.AsyncClient, kind: str, *jobs: str) -> WaitingClients:
    assert http.base_url.port is not None
    return WaitingClients(http.base_url.port, kind, CLIENTS, list(jobs))


@pytest.mark.parametrize("kind", NEWS)
async def test_those_whose_job_has_ended_follow_another_one(
    http: httpx.AsyncClient, service: LocalJobService, kind: str
) -> None:
    first, second = await submitted(http), await submitted(http)
    clients = clients_of(http, kind, first, second)
    async with asyncio.timeout(TIMEOUT):
        waiting = asyncio.create_task(clients.wait())
        service.finish(service.claim(), RESULT)
        await until(lambda: clients.jobs == [second])
        assert not waiting.done()
        service.finish(service.claim(), RESULT)
        await waiting
    assert clients.all_begun.is_set()
    assert clients.news >= CLIENTS + CLIENTS // 2  # half of the clients learned of both ends


async def test_streams_have_begun_while_their_jobs_wait(http: httpx.AsyncClient) -> None:
    clients = clients_of(http, STREAMS, await submitted(http))
    async with asyncio.timeout(TIMEOUT):
        waiting = asyncio.create_task(clients.wait())
        await clients.all_begun.wait()
        assert clients.news == CLIENTS
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_long_polls_begin_with_their_first_answer(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    clients = clients_of(http, LONG_POLLS, await submitted(http))
    async with asyncio.timeout(TIMEOUT):
        waiting = asyncio.create_task(clients.wait())
        await until(lambda: service.waiting == CLIENTS)
        assert not clients.all_begun.is_set()
        service.finish(service.claim(), RESULT)
        await waiting
    assert clients.all_begun.is_set()


async def test_their_process_tells_when_all_have_begun_and_how_much_news_came(
    http: httpx.AsyncClient,
) -> None:
    job_id, port = await submitted(http), http.base_url.port
    assert port is not None

    def followed() -> int:
        with waiting_clients(port, STREAMS, CLIENTS, [job_id]) as process:
            until_begun(process)
        return int(process.told)

    assert await asyncio.to_thread(followed) == CLIENTS  # one event each, because the job waits


@pytest.mark.parametrize("kind", NEWS)
async def test_a_refusal_ends_all_clients(http: httpx.AsyncClient, kind: str) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        await clients_of(http, kind, "unknown").wait()
    assert raised.group_contains(AnswerError, match="404")
