"""The `JobService` of the HTTP API: it asks the job tracker and the model deployments through Ray."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

import ray.exceptions
from ray import serve

from configs.settings import Settings
from deployments.common.processor import core_count
from serve_app.api.service import Condition, Readiness, UnavailableError
from serve_app.execution.failures import cause_of, is_unavailable
from serve_app.execution.models import HandleModels
from serve_app.execution.song_planning import Questions, plan_song
from serve_app.jobs.batches import BatchAccepted, BatchView
from serve_app.jobs.housekeeping.identity import new_job_id, store_name
from serve_app.jobs.loaded_adapters import LoadedAdapters
from serve_app.jobs.model import Accepted, JobState, JobView, NewJob, TrackerStats
from serve_app.jobs.reading.reader import JobReader
from serve_app.jobs.tracker_api import TrackerApi
from serve_app.jobs.usage import ClientUsage
from serve_app.readiness import Overviews, deployments_of, running_replicas, unanswered, unasked
from serve_app.request.draft import Draft
from serve_app.request.planning import language_model, lyrics_for_models, unconditional_text
from serve_app.request.schemas import GenerateRequest
from serve_app.request.song_plan import SongPlan
from serve_app.shared_waits import SharedWaits

READY_TIMEOUT_SECONDS = 5.0
COUNT_TIMEOUT_SECONDS = 10.0
WRITING_SECONDS = 20.0
"""Time for all answers of the LM about a song that is written at once; clients give up after 30 s."""

_Answer = TypeVar("_Answer")


class RayJobService:
    """`serve_app.api.service.JobService` over the tracker actor and the deployment handles."""

    def __init__(
        self,
        settings: Settings,
        tracker: TrackerApi,
        language_models: Mapping[str, Any],
        generators: Mapping[str, Any],
        codec: Any,
    ) -> None:
        self._settings = settings
        self._tracker = tracker
        self._reader = JobReader(tracker)
        self._waits = SharedWaits(self._reader, core_count())
        self._store_name: str | None = None
        self._language_models = language_models
        self._models = HandleModels(language_models, generators, codec)
        models = settings.models
        self._needed = {
            "LanguageModel": language_models[models.language_models[0]],
            "Generator": generators[models.dits[0]],
            "Codec": codec,
        }
        """The deployments that a default request needs."""

    async def close(self) -> None:
        """Tell the tracker that this replica answers no reads from memory any more."""
        await self._reader.stop()

    async def new_job_id(self) -> str:
        if self._store_name is None:
            self._store_name = store_name(await self.secret())
        return new_job_id(self._store_name)

    async def submit(self, new: NewJob) -> Accepted:
        return await _unwrapped(self._tracker.submit(new))

    async def submit_batch(self, news: tuple[NewJob, ...], callback_url: str | None) -> BatchAccepted:
        return await _unwrapped(self._tracker.submit_batch(news, callback_url))

    async def batch(self, batch_id: str, client: str | None) -> BatchView | None:
        return await _unwrapped(self._tracker.batch(batch_id, client))

    async def cancel_batch(self, batch_id: str, client: str | None) -> BatchView | None:
        return await _unwrapped(self._tracker.cancel_batch(batch_id, client))

    async def admit(self, client: str, idempotency_key: str | None) -> None:
        await _unwrapped(self._tracker.admit(client, idempotency_key))

    async def view(self, job_id: str) -> JobView | None:
        return await _unwrapped(self._reader.view(job_id))

    async def cancel(self, job_id: str) -> JobView | None:
        return await _unwrapped(self._tracker.cancel(job_id))

    async def purge_job(self, job_id: str, client: str | None) -> bool | None:
        return await _unwrapped(self._tracker.purge_job(job_id, client))

    async def page(self, client: str, state: JobState | None, before: int, limit: int) -> list[JobView]:
        return await _unwrapped(self._tracker.page(client, state, before, limit))

    async def wait(self, job_id: str, version: str, timeout: float) -> JobView | None:
        return await _unwrapped(self._waits.until_changed(job_id, version, timeout))

    async def wait_change(self, job_id: str, client: str | None, timeout: float) -> JobView | None:
        return await _unwrapped(self._waits.until_stage_changes(job_id, client, timeout))

    async def wait_end(self, job_id: str, timeout: float) -> JobView | None:
        return await _unwrapped(self._waits.until_ended(job_id, timeout))

    async def usage(self, client: str, first: str, last: str) -> ClientUsage:
        return await _unwrapped(self._tracker.usage(client, first, last))

    async def stats(self) -> TrackerStats:
        return await _unwrapped(self._tracker.stats())

    async def secret(self) -> bytes:
        return await _unwrapped(self._tracker.secret())

    async def loaded_adapters(self, client: str) -> LoadedAdapters:
        return await _unwrapped(self._tracker.loaded_adapters(client))

    async def keep_adapters(self, client: str, loaded: LoadedAdapters) -> None:
        await _unwrapped(self._tracker.keep_adapters(client, loaded))

    async def replicas(self) -> dict[str, int]:
        """Return the number of running replicas by deployment."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                overviews = await self._overviews()
        except (ray.exceptions.RayActorError, KeyError, TimeoutError) as error:  # the controller is away
            raise UnavailableError from error
        return {name: running_replicas(overview) for name, overview in overviews.items()}

    async def plan(self, draft: Draft) -> SongPlan:
        """Make the plan of a song at once. Raises JobError if the texts are too long for the LM."""
        name = language_model(draft.spec.request, self._settings.models)
        questions = Questions(self._models, name, WRITING_SECONDS, budget=WRITING_SECONDS)
        try:
            return await plan_song(draft, questions, self._settings)
        except ray.exceptions.RayTaskError as error:
            raise cause_of(error) from None

    async def prompt_fits(self, request: GenerateRequest, code_count: int) -> bool:
        """Tell whether the request and its codes fit into the LM's context; True while the LM is down."""
        lyrics = lyrics_for_models(request)
        name = language_model(request, self._settings.models)
        count = self._language_models[name].fits.remote(
            request.caption, lyrics, unconditional_text(request), code_count
        )
        try:
            async with asyncio.timeout(COUNT_TIMEOUT_SECONDS):
                fits: bool = await count
        except Exception as error:
            if not is_unavailable(error):
                raise
            return True
        return fits

    async def condition(self) -> Condition:
        """Report which parts of the server can serve now. Raises nothing."""
        overviews = await self._known_overviews()
        stats, answers = await asyncio.gather(
            self._known_stats(),
            asyncio.gather(
                *(self._readiness(name, handle, overviews) for name, handle in self._needed.items())
            ),
        )
        parts = dict(zip(self._needed, answers, strict=True))
        if stats is None:
            return Condition(None, {"JobTracker": Readiness.AWAY, **parts})
        return Condition(stats.mode, {"JobTracker": Readiness.READY, **parts}, stats.no_room)

    async def _known_stats(self) -> TrackerStats | None:
        """Return the tracker's numbers; None if it does not answer."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                return await self.stats()
        except Exception:
            return None

    async def _readiness(self, name: str, handle: Any, overviews: Overviews) -> Readiness:
        if known := unasked(overviews.get(name)):
            return known
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                await handle.ready.remote()
        except Exception:
            return unanswered((await self._known_overviews()).get(name))
        return Readiness.READY

    async def _known_overviews(self) -> Overviews:
        """Return Serve's overviews; empty if its controller does not answer."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                return await self._overviews()
        except Exception:
            return {}

    async def _overviews(self) -> Overviews:
        application = serve.get_replica_context().app_name
        return await asyncio.to_thread(deployments_of, application)


async def _unwrapped(asked: Awaitable[_Answer]) -> _Answer:
    """Return the tracker's answer, or raise its own exception without Ray's wrapping."""
    try:
        return await asked
    except ray.exceptions.RayActorError as error:
        raise UnavailableError from error
    except (ray.exceptions.RayTaskError, ray.exceptions.TaskCancelledError) as error:
        cause = cause_of(error)
        if isinstance(cause, ray.exceptions.TaskCancelledError):
            # Serve cancels every call that a request has made once its client has left.
            raise asyncio.CancelledError from None
        raise cause from None
