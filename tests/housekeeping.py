"""A janitor in a test. Time is simulated; files and journal are real."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from configs.settings import JobSettings, StorageSettings
from serve_app.jobs.housekeeping.identity import new_job_id, store_name
from serve_app.jobs.housekeeping.janitor import Janitor
from serve_app.jobs.model import Client, JobState, NewJob
from serve_app.jobs.storing.journal import Journal
from serve_app.jobs.storing.store import MemoryJobStore
from serve_app.jobs.tracker import JobTracker
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from serve_app.storage import SIGN_INS, AudioStorage
from tests.job_tracking import WORK, Clock

DAY = 24 * 3600.0
SONG_BYTES = 1000
SPEC = JobSpec(GenerateRequest(), seeds=(1,))


@asynccontextmanager
async def deletion_under_way(storage: AudioStorage, work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Run the block while `work` waits at the beginning of its first deletion, and then `work` to its end."""
    begun, may_go_on = threading.Event(), threading.Event()

    def held(delete: Callable[..., None]) -> Callable[..., None]:
        def delete_later(*arguments: Any) -> None:
            if not begun.is_set():
                begun.set()
                may_go_on.wait(30)
            delete(*arguments)

        return delete_later

    with pytest.MonkeyPatch.context() as patch:
        for name in ("delete_job", "delete_all_but"):
            patch.setattr(storage, name, held(getattr(storage, name)))
        working = asyncio.create_task(work)
        try:
            assert await asyncio.to_thread(begun.wait, 30)
            yield
        finally:
            may_go_on.set()
            await working


class Housekeeping:
    """One tracker, its storage in `folder`, and the janitor of both."""

    def __init__(self, folder: Path, max_bytes: int = 10**9, **settings: Any) -> None:
        self.folder = folder
        self.clock = Clock()
        self.steady: Callable[[], float] = self.clock
        self.storage = AudioStorage(str(folder))
        self.journal = Journal(MemoryJobStore())
        self.settings = StorageSettings(
            uri=str(folder), result_seconds=DAY, record_seconds=7 * DAY, max_bytes=max_bytes, **settings
        )
        self.restart()

    def restart(self) -> None:
        self.tracker = JobTracker(JobSettings(client_rate=1e6), self.journal, self.clock)
        self.janitor = Janitor(self.storage, self.settings, self.clock, self.steady)

    async def sweep(self) -> None:
        await self.journal.flushed()
        await self.janitor.sweep(self.tracker, self.journal)
        await self.journal.flushed()

    async def purge(self, job_id: str) -> bool:
        """Purge as the actor does; return whether all of the job is gone."""
        assert self.tracker.purge(job_id, None)
        await self.journal.flushed()
        return await self.janitor.finish_purge(job_id, self.tracker, self.journal)

    def submit(self, client: str = "", spec: JobSpec = SPEC) -> str:
        """Submit a job with a recording, and return its id."""
        job_id = self.new_id()
        self.write(self.storage.recording_uri(job_id, "source"), 500)
        self.tracker.submit(NewJob(job_id, spec, WORK, Client(client), uploaded_bytes=500))
        return job_id

    def new_id(self) -> str:
        return new_job_id(store_name(self.journal.store.secret()))

    def finish(self, client: str = "", spec: JobSpec = SPEC) -> str:
        """Run a job whose second attempt succeeds after the first had also written. Return its id."""
        job_id = self.submit(client, spec)
        claim = self.tracker.claim("first")
        assert claim is not None
        assert claim.job.job_id == job_id
        self.write(self.storage.result_uri(job_id, 1, 0, "wav"), SONG_BYTES)
        assert self.tracker.fail(job_id, "first", "Lost.", retryable=True)
        self.tracker.claim("second")
        song = self.storage.result_uri(job_id, 2, 0, "wav")
        self.write(song, SONG_BYTES)
        self.write(self.storage.result_uri(job_id, 2, 1, "wav"), SONG_BYTES)
        assert self.tracker.finish(job_id, "second", {"timings": {}}, (song,), SONG_BYTES)
        return job_id

    def write(self, uri: str, size: int) -> None:
        self.storage.write(uri, io.BytesIO(bytes(size)))

    def files(self) -> list[str]:
        """Return all stored files of jobs, relative to the folder."""
        found = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        return sorted(str(path) for path in found if path.parts[0] != SIGN_INS)

    def state(self, job_id: str) -> JobState | None:
        view = self.tracker.view(job_id)
        return view and view.state
