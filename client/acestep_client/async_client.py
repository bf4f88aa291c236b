"""`AsyncClient`: the server's API for asynchronous code."""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from datetime import date
from typing import Any, Self, Unpack

import httpx

from acestep_client import bodies, flows
from acestep_client.answers import Condition, JobStatus, Models, Stats, WrittenSong
from acestep_client.async_driver import AsyncDriver
from acestep_client.async_handles import AsyncBatch, AsyncJob
from acestep_client.configuration import http_options
from acestep_client.fields import FormatFields, SampleFields, SongFields, UnderstandFields
from acestep_client.later_answers import Usage
from acestep_client.retrying import Retries
from acestep_client.uploads import Upload


class AsyncClient:
    """A client of one server.

    `url` is the address of the server, by default the environment variable `ACESTEP_URL` or the local server,
    and `api_key` its key for you, by default `ACESTEP_API_KEY`. Requests are repeated by the rules of
    `retries` while the server is too busy or cannot be reached. `transport` replaces the network, in tests.

    All methods raise `AcestepError`. Close a client, or use it in an `async with` statement.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        http = httpx.AsyncClient(**http_options(url, api_key), transport=transport)
        self._driver = AsyncDriver(http, retries or Retries())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._driver.http.aclose()

    async def generate(
        self, caption: str = "", /, *, idempotency_key: str | None = None, **fields: Unpack[SongFields]
    ) -> AsyncJob:
        """Submit a job that makes songs, and return at once.

        `fields` are those of the API; a `seed` switches `use_random_seed` off. The job is the same if it is
        submitted again with the same `idempotency_key`, which the client else invents.
        """
        return await self._submitted(bodies.GENERATE, bodies.song(caption, fields), idempotency_key)

    async def cover(self, source: Upload, caption: str = "", /, **fields: Unpack[SongFields]) -> AsyncJob:
        """Submit a job that sings and plays a recording in another style."""
        return await self._submitted(bodies.GENERATE, bodies.edit("cover", source, caption, fields))

    async def repaint(
        self,
        source: Upload,
        caption: str = "",
        /,
        *,
        start: float,
        end: float | None = None,
        **fields: Unpack[SongFields],
    ) -> AsyncJob:
        """Submit a job that renews a recording from `start` to `end`, in seconds of the recording.

        A negative start puts music in front, and an end beyond the recording adds to it; None is its end.
        """
        window = bodies.window(start, end)
        return await self._submitted(
            bodies.GENERATE, bodies.edit("repaint", source, caption, {**fields, **window})
        )

    async def understand(self, source: Upload, /, **fields: Unpack[UnderstandFields]) -> AsyncJob:
        """Submit a job that describes a recording: caption, lyrics, metadata and audio codes."""
        return await self._submitted(bodies.UNDERSTAND, {**fields, "src_audio": source})

    async def sample(self, query: str = "", /, **fields: Unpack[SampleFields]) -> WrittenSong:
        """Let the server write a song from one sentence, as text and at once."""
        return await self._driver.run(flows.sampled, query, fields)

    async def format(self, caption: str, lyrics: str = "", /, **fields: Unpack[FormatFields]) -> WrittenSong:
        """Let the server rewrite a caption and lyrics and complete the metadata, at once."""
        return await self._driver.run(flows.formatted, caption, lyrics, fields)

    def job(self, job_id: str) -> AsyncJob:
        """Return the handle of a job, without asking the server."""
        return AsyncJob(job_id, self._driver)

    async def jobs(
        self, status: JobStatus | None = None, limit: int | None = None
    ) -> AsyncIterator[AsyncJob]:
        """Yield your jobs, the newest first: all, or those with one status, and at most `limit`."""
        async with aclosing(self._driver.iterate(flows.jobs, status, limit)) as snapshots:
            async for snapshot in snapshots:
                yield AsyncJob(snapshot.job_id, self._driver, snapshot)

    async def submit_batch(
        self,
        requests: Iterable[SongFields],
        *,
        callback_url: str | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncBatch:
        """Submit up to 1,000 requests, of which all become jobs or none does. They cannot have uploads."""
        known = await self._driver.run(flows.submitted_batch, requests, callback_url, idempotency_key)
        return AsyncBatch(known.batch_id, self._driver, [job.job_id for job in known.jobs])

    def batch(self, batch_id: str) -> AsyncBatch:
        """Return the handle of a batch, without asking the server."""
        return AsyncBatch(batch_id, self._driver)

    async def usage(self, first_day: date | str | None = None, last_day: date | str | None = None) -> Usage:
        """Return what you used, by day in UTC, both days included; by default in the last 30 days."""
        days = [None if day is None else str(day) for day in (first_day, last_day)]
        return await self._driver.run(flows.usage, *days)

    async def models(self) -> Models:
        """Return the models, formats and limits of the server."""
        return await self._driver.run(flows.models)

    async def stats(self) -> Stats:
        """Return the load and speed of the server."""
        return await self._driver.run(flows.stats)

    async def condition(self) -> Condition:
        """Return which parts of the server are ready. Raises UnavailableError where it cannot run jobs."""
        return await self._driver.run(flows.condition)

    async def _submitted(
        self, path: str, fields: dict[str, Any], idempotency_key: str | None = None
    ) -> AsyncJob:
        known = await self._driver.run(flows.submitted, path, fields, idempotency_key)
        return AsyncJob(known.job_id, self._driver, known)
