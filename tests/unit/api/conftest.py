"""The API in this process, with the real tracker in place of its Ray actor."""

import asyncio
import io
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from configs.settings import ApiSettings, JobSettings, LanguageModelSettings, Settings
from deployments.common.messages import Metadata
from serve_app.api.app import create_app
from serve_app.api.routes.jobs import NEWEST
from serve_app.api.service import Condition, Readiness
from serve_app.jobs.batches import BatchAccepted, BatchView, sequences_of
from serve_app.jobs.housekeeping.identity import new_job_id, store_name
from serve_app.jobs.loaded_adapters import AdaptersOfClients, LoadedAdapters
from serve_app.jobs.model import Accepted, Claim, Job, JobState, JobView, NewJob, TrackerStats
from serve_app.jobs.storing.journal import Journal
from serve_app.jobs.storing.store import MemoryJobStore
from serve_app.jobs.tracker import JobTracker
from serve_app.jobs.usage import ClientUsage
from serve_app.request.draft import Draft
from serve_app.request.planning import song_plan
from serve_app.request.schemas import GenerateRequest
from serve_app.request.song_plan import SongPlan, SongWords
from serve_app.request.spec import JobSpec
from serve_app.storage import AudioStorage
from tests.audio import chord
from tests.unit.api.shared_app import (  # noqa: F401, these are fixtures
    shared_app,
    shared_apps,
    shared_audio_in,
    shared_http,
)


class LocalJobService:
    """`JobService` without Ray. Tests set whether long prompts fit and which parts are not ready."""

    def __init__(self, settings: JobSettings) -> None:
        self.journal = Journal(MemoryJobStore())
        self.tracker = JobTracker(settings, self.journal, time.time)
        self.long_prompts_fit = True
        self.counted: list[tuple[GenerateRequest, int]] = []
        self.planned: list[Draft] = []
        self.words: SongWords | None = None
        """The caption and lyrics that the LM is made to write for a request."""
        self.parts = {"JobTracker": Readiness.READY, "Generator": Readiness.READY}
        self.purges_complete = True
        """Whether nothing delays the deletion of a job's files."""
        self.no_room: str | None = None
        """Why the store takes no new jobs."""
        self.adapters = AdaptersOfClients()
        self.waiting = 0
        """Number of long polls at the moment."""
        self.followed: set[str] = set()
        """Versions that some client has and whose successor it waits for."""

    @property
    def jobs(self) -> list[Job]:
        """Return all jobs in the order of their submission."""
        return self.journal.store.page(None, None, NEWEST, 1000)[::-1]

    @property
    def last(self) -> JobSpec:
        return self.jobs[-1].spec

    def claim(self) -> Claim:
        """Claim the next job for a runner of its own."""
        claim = self.tracker.claim(str(uuid.uuid4()))
        assert claim is not None
        return claim

    def finish(self, claim: Claim, result: dict[str, Any], files: tuple[str, ...] = ()) -> None:
        assert self.tracker.finish(claim.job.job_id, claim.token, result, files, 0)

    async def new_job_id(self) -> str:
        return new_job_id(store_name(self.journal.store.secret()))

    async def submit(self, new: NewJob) -> Accepted:
        accepted = self.tracker.submit(new, await self.journal.earlier(new))
        await self.journal.flushed()
        return accepted

    async def submit_batch(self, news: tuple[NewJob, ...], callback_url: str | None) -> BatchAccepted:
        if repeated := self.tracker.repeated(news[0], await self.journal.earlier(news[0])):
            record = await self.journal.get(repeated.job_id)
            view = await self.batch(record.batch.batch_id, None) if record and record.batch else None
            assert view is not None
            jobs = tuple(Accepted(job_id, state, 0) for job_id, state in view.jobs)
            return BatchAccepted(view.batch_id, jobs)
        accepted = self.tracker.submit_batch(news, callback_url)
        await self.journal.flushed()
        return accepted

    async def batch(self, batch_id: str, client: str | None) -> BatchView | None:
        sequences = sequences_of(batch_id)
        states = await self.journal.states(sequences[0], sum(sequences)) if sequences else {}
        record = await self.journal.get(next(iter(states))) if states else None
        if record is None or record.batch is None or record.batch.batch_id != batch_id:
            return None
        if client not in {None, record.client}:
            return None
        return BatchView(batch_id, record.client, tuple(states.items()), sequences[1] - len(states))

    async def cancel_batch(self, batch_id: str, client: str | None) -> BatchView | None:
        view = await self.batch(batch_id, client)
        for job_id, state in view.jobs if view else ():
            if not state.is_final:
                self.tracker.cancel(job_id)
        return await self.batch(batch_id, client)

    async def admit(self, client: str, idempotency_key: str | None) -> None:
        earlier = await self.journal.with_key(client, idempotency_key) if idempotency_key else None
        if earlier is None or not self.tracker.is_key_valid(earlier):
            self.tracker.admit(client)

    async def view(self, job_id: str) -> JobView | None:
        return self.tracker.view(job_id)

    async def cancel(self, job_id: str) -> JobView | None:
        return self.tracker.cancel(job_id)

    async def purge_job(self, job_id: str, client: str | None) -> bool | None:
        """Purge a job; nothing is left of it but what is in the storage."""
        if not self.tracker.has_record(job_id) and (stored := await self.journal.get(job_id)):
            self.tracker.recall(stored)
        if not self.tracker.purge(job_id, client):
            return None
        if not self.purges_complete:
            return False
        for job in self.tracker.ended.untidy():
            if job.job_id == job_id:
                self.tracker.ended.tidied(job)
        self.tracker.ended.records_expired(self.tracker.ended.purged())
        return True

    async def page(self, client: str, state: JobState | None, before: int, limit: int) -> list[JobView]:
        jobs = await self.journal.page(client, state, before, 2 * limit)
        return list(filter(None, map(self.tracker.view_of_stored, jobs)))[:limit]

    async def until_followed(self, job_id: str) -> None:
        """Wait until a client has seen the job as it is and waits for its next change."""
        while True:
            view = self.tracker.view(job_id)
            if view and view.version in self.followed:
                return
            await asyncio.sleep(0.005)

    async def until_waiting(self, count: int) -> None:
        """Wait until this many long polls wait."""
        while True:
            if self.waiting == count:
                return
            await asyncio.sleep(0.005)

    async def wait(self, job_id: str, version: str, timeout: float) -> JobView | None:
        self.followed.add(version)
        view = await self._changed(job_id, timeout, lambda view: view.version != version)
        if view is not None and view.version == version:
            raise TimeoutError
        return view

    async def wait_change(self, job_id: str, client: str | None, timeout: float) -> JobView | None:
        known = self.tracker.view(job_id)
        if known is None or known.state.is_final or client not in {None, known.client}:
            return known
        before = known.state, known.stage
        return await self._changed(job_id, timeout, lambda view: (view.state, view.stage) != before)

    async def wait_end(self, job_id: str, timeout: float) -> JobView | None:
        return await self._changed(job_id, timeout, lambda view: view.state.is_final)

    async def _changed(
        self, job_id: str, timeout: float, wanted: Callable[[JobView], bool]
    ) -> JobView | None:
        deadline = time.monotonic() + timeout
        self.waiting += 1
        try:
            while True:
                view = self.tracker.view(job_id)
                if view is None or wanted(view) or time.monotonic() >= deadline:
                    return view
                await asyncio.sleep(0.005)
        finally:
            self.waiting -= 1

    async def usage(self, client: str, first: str, last: str) -> ClientUsage:
        await self.journal.flushed()
        return self.tracker.usage(client, await self.journal.usage(client, first, last))

    async def stats(self) -> TrackerStats:
        return self.tracker.stats()

    async def secret(self) -> bytes:
        return self.journal.store.secret()

    async def loaded_adapters(self, client: str) -> LoadedAdapters:
        return self.adapters.of(client)

    async def keep_adapters(self, client: str, loaded: LoadedAdapters) -> None:
        self.adapters.keep(client, loaded)

    async def replicas(self) -> dict[str, int]:
        return {"Ingress": 1, "Codec": 2}

    async def condition(self) -> Condition:
        return Condition(self.tracker.mode, self.parts, self.no_room)

    async def plan(self, draft: Draft) -> SongPlan:
        self.planned.append(draft)
        known = {name: value for name, value in vars(draft.given).items() if value is not None}
        metadata = Metadata(
            **{"bpm": 90, "key_scale": "A minor", "time_signature": "3", "duration": 25.0, **known}
        )
        return song_plan(draft, metadata, lm_answered=True, notes=("A note.",), words=self.words)

    async def prompt_fits(self, request: GenerateRequest, code_count: int) -> bool:
        self.counted.append((request, code_count))
        return self.long_prompts_fit


@pytest.fixture
def audio_in(tmp_path: Path) -> Path:
    folder = tmp_path / "audio_in"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(audio_in: Path) -> Settings:
    return Settings(
        api=ApiSettings(audio_roots=(audio_in,), max_duration=20.0, max_upload_bytes=4_000_000),
        language_model=LanguageModelSettings(lm_max_duration=20),
        jobs=JobSettings(queue_limit=3),
    )


@pytest.fixture
def service(settings: Settings) -> LocalJobService:
    return LocalJobService(settings.jobs)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The folder in which the server keeps audio."""
    return tmp_path / "output"


@pytest.fixture
def storage(output: Path) -> AudioStorage:
    return AudioStorage(str(output))


@pytest.fixture
async def http(
    service: LocalJobService, settings: Settings, storage: AudioStorage
) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(service, settings, storage), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client


@pytest.fixture
def stored_files(output: Path) -> Callable[[], list[Path]]:
    """Return a function that lists the files that the server keeps."""
    return lambda: [path for path in output.rglob("*") if path.is_file()]


def wav_bytes(seconds: float = 2.0, level: float = 0.5) -> bytes:
    """Return a small recording. With level 0 it is silent."""
    file = io.BytesIO()
    soundfile.write(file, chord(seconds, 8_000, level).astype(np.float32), 8_000, format="WAV")
    return file.getvalue()
