"""`Client`: the server's API for ordinary code."""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any, Self, Unpack

import httpx

from acestep_client import bodies, flows
from acestep_client.answers import Condition, JobStatus, Models, Stats, WrittenSong
from acestep_client.configuration import http_options
from acestep_client.driver import Driver
from acestep_client.fields import FormatFields, SampleFields, SongFields, UnderstandFields
from acestep_client.handles import Batch, Job
from acestep_client.later_answers import Usage
from acestep_client.retrying import Retries
from acestep_client.uploads import Upload


class Client:
    """A client of one server.

    `url` is the address of the server, by default the environment variable `ACESTEP_URL` or the local server,
    and `api_key` its key for you, by default `ACESTEP_API_KEY`. Requests are repeated by the rules of
    `retries` while the server is too busy or cannot be reached. `transport` replaces the network, in tests.

    All methods raise `AcestepError`. A client may be used by several threads. Close it, or use it in a `with`
    statement.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        http = httpx.Client(**http_options(url, api_key), transport=transport)
        self._driver = Driver(http, retries or Retries())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._driver.http.close()

    def generate(
        self, caption: str = "", /, *, idempotency_key: str | None = None, **fields: Unpack[SongFields]
    ) -> Job:
        """Submit a job that makes songs, and return at once.

        `fields` are those of the API; a `seed` switches `use_random_seed` off. The job is the same if it is
        submitted again with the same `idempotency_key`, which the client else invents.
        """
        return self._submitted(bodies.GENERATE, bodies.song(caption, fields), idempotency_key)

    def cover(self, source: Upload, caption: str = "", /, **fields: Unpack[SongFields]) -> Job:
        """Submit a job that sings and plays a recording in another style."""
        return self._submitted(bodies.GENERATE, bodies.edit("cover", source, caption, fields))

    def repaint(
        self,
        source: Upload,
        caption: str = "",
        /,
        *,
        start: float,
        end: float | None = None,
        **fields: Unpack[SongFields],
    ) -> Job:
        """Submit a job that renews a recording from `start` to `end`, in seconds of the recording.

        A negative start puts music in front, and an end beyond the recording adds to it; None is its end.
        """
        window = bodies.window(start, end)
        return self._submitted(bodies.GENERATE, bodies.edit("repaint", source, caption, {**fields, **window}))

    def understand(self, source: Upload, /, **fields: Unpack[UnderstandFields]) -> Job:
        """Submit a job that describes a recording: caption, lyrics, metadata and audio codes."""
        return self._submitted(bodies.UNDERSTAND, {**fields, "src_audio": source})

    def sample(self, query: str = "", /, **fields: Unpack[SampleFields]) -> WrittenSong:
        """Let the server write a song from one sentence, as text and at once."""
        return self._driver.run(flows.sampled, query, fields)

    def format(self, caption: str, lyrics: str = "", /, **fields: Unpack[FormatFields]) -> WrittenSong:
        """Let the server rewrite a caption and lyrics and complete the metadata, at once."""
        return self._driver.run(flows.formatted, caption, lyrics, fields)

    def job(self, job_id: str) -> Job:
        """Return the handle of a job, without asking the server."""
        return Job(job_id, self._driver)

    def jobs(self, status: JobStatus | None = None, limit: int | None = None) -> Iterator[Job]:
        """Yield your jobs, the newest first: all, or those with one status, and at most `limit`."""
        for snapshot in self._driver.iterate(flows.jobs, status, limit):
            yield Job(snapshot.job_id, self._driver, snapshot)

    def submit_batch(
        self,
        requests: Iterable[SongFields],
        *,
        callback_url: str | None = None,
        idempotency_key: str | None = None,
    ) -> Batch:
        """Submit up to 1,000 requests, of which all become jobs or none does. They cannot have uploads."""
        known = self._driver.run(flows.submitted_batch, requests, callback_url, idempotency_key)
        return Batch(known.batch_id, self._driver, [job.job_id for job in known.jobs])

    def batch(self, batch_id: str) -> Batch:
        """Return the handle of a batch, without asking the server."""
        return Batch(batch_id, self._driver)

    def usage(self, first_day: date | str | None = None, last_day: date | str | None = None) -> Usage:
        """Return what you used, by day in UTC, both days included; by default in the last 30 days."""
        days = [None if day is None else str(day) for day in (first_day, last_day)]
        return self._driver.run(flows.usage, *days)

    def models(self) -> Models:
        """Return the models, formats and limits of the server."""
        return self._driver.run(flows.models)

    def stats(self) -> Stats:
        """Return the load and speed of the server."""
        return self._driver.run(flows.stats)

    def condition(self) -> Condition:
        """Return which parts of the server are ready. Raises UnavailableError where it cannot run jobs."""
        return self._driver.run(flows.condition)

    def _submitted(self, path: str, fields: dict[str, Any], idempotency_key: str | None = None) -> Job:
        known = self._driver.run(flows.submitted, path, fields, idempotency_key)
        return Job(known.job_id, self._driver, known)
