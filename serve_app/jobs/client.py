"""The job tracker's Ray actor, and the client that finds it by name, and again after it was replaced."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import ray
import ray.exceptions

from configs.settings import PROJECT_ROOT, Settings
from deployments.common.tracing import span_recorder
from serve_app.jobs.clocks import Clock
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.job_log import JobLog, log_to_serve_file
from serve_app.jobs.metrics import JobMetrics
from serve_app.jobs.observer import JobObservers
from serve_app.jobs.storing.store import StoreTakenError
from serve_app.jobs.tracing import JobSpans
from serve_app.jobs.tracker_api import TrackerApi, client_over

REPLACING_SECONDS = 10.0
"""How long a client waits for the application that ended a tracker to start its replacement."""
START_SECONDS = 60.0
"""Maximum start time of an actor's process on a busy machine."""
LOOK_AGAIN_SECONDS = 0.2
FAREWELL_SECONDS = 10.0
"""How long a tracker whose store was taken over still raises StoreTakenError; then its process ends."""
HEAD_NODE = "node:__internal_head__"
"""Ray gives this resource to the head node alone."""
_CODE = ("serve_app", "configs", "deployments")
FORMER_CALLS: dict[str, Callable[..., tuple[str, tuple[Any, ...]]]] = {
    "left": lambda job_id: ("runner_stopped", (job_id,)),
    "wait_stage": lambda job_id, _state, _stage, timeout: ("wait_change", (job_id, None, timeout)),
}
"""Calls of earlier releases, whose replicas may call a new tracker during a deployment: name -> function that
turns the arguments into a method of `TrackerApi` and its arguments."""


class TrackerProcess:
    """The Ray actor: one process that runs a `DurableTracker`.

    The class must keep its name, its module and these two methods: Ray looks an actor's class up in the code
    of each process that has a handle, and that may be a replica of another version of the application.
    """

    def __init__(self, settings: Settings, version: str) -> None:
        log_to_serve_file()
        spans = JobSpans(span_recorder(settings.tracing, "JobTracker"))
        observers = JobObservers(JobMetrics(), JobLog(), spans)
        tracker = DurableTracker(settings, observers, has_predecessor=True)
        # After `exit_actor` Ray does not restart the actor.
        self._served = ServedTracker(tracker, ray.actor.exit_actor, time.monotonic)
        self._version = version

    async def version(self) -> str:
        """Return the version of the code and the settings that this tracker runs."""
        return self._version

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call one method of `TrackerApi`."""
        return await self._served.call(method, *arguments)


class ServedTracker:
    """Calls a tracker's methods by name, and ends its process some time after its store was taken over."""

    def __init__(self, tracker: TrackerApi, end: Callable[[], Any], steady: Clock) -> None:
        self._tracker = tracker
        self._end = end
        self._steady = steady
        self._ends_at: float | None = None

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call one method of `TrackerApi`, under its name of this release or of an earlier one."""
        if self._ends_at is not None and self._steady() > self._ends_at:
            self._end()
        if former := FORMER_CALLS.get(method):
            method, arguments = former(*arguments)
        try:
            return await getattr(self._tracker, method)(*arguments)
        except StoreTakenError:
            self._ends_at = self._ends_at or self._steady() + FAREWELL_SECONDS
            raise


def tracker_client(settings: Settings) -> TrackerApi:
    """Make a client of the application's tracker, which is started if nobody has started it.

    Its methods raise what those of the tracker raise, and ActorDiedError if no tracker can be reached.
    """
    return client_over(TrackerConnection(settings).call)


class TrackerConnection:
    """The handle of the tracker's actor, renewed when the actor is replaced.

    A call whose actor was replaced meanwhile (another version of the application was deployed) is sent again
    to the new one; all methods may be repeated. After another tracker has taken the store over, none is
    started in place of ours: they would take the store from each other.
    """

    def __init__(
        self, settings: Settings, actors: "Actors | None" = None, steady: Clock = time.monotonic
    ) -> None:
        self._settings = settings
        self._actors = actors or Actors()
        self._steady = steady
        self._store_is_taken = False
        self._actor = self._actors.get_or_create(settings)

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call one method, and again if the actor is replaced meanwhile."""
        deadline = self._steady() + 2 * REPLACING_SECONDS
        while True:
            actor = self._actor
            try:
                return await actor.call.remote(method, *arguments)
            except StoreTakenError:
                self._store_is_taken = True
                raise
            except ray.exceptions.ActorDiedError:
                if self._steady() > deadline:
                    raise
            await self._find_again(actor, deadline)

    async def _find_again(self, ended: Any, deadline: float) -> None:
        """Look the name up, and start a tracker only if nobody else does: ours may be the old version."""
        while self._actor is ended:
            actor = await asyncio.to_thread(self._actors.find, self._settings)
            if actor is not None and actor != ended:
                self._actor = actor
                self._store_is_taken = False
            elif self._store_is_taken and self._steady() > deadline:
                return
            elif not self._store_is_taken and self._steady() > deadline - REPLACING_SECONDS:
                self._actor = await asyncio.to_thread(self._actors.get_or_create, self._settings)
            else:
                await asyncio.sleep(LOOK_AGAIN_SECONDS)


@cache
def tracker_version(settings_json: str) -> str:
    """Return a digest of everything that determines the tracker's behaviour: its code and its settings."""
    digest = hashlib.sha256(settings_json.encode())
    for folder in _CODE:
        for path in sorted((PROJECT_ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def replace_outdated_tracker(settings: Settings) -> None:
    """End a tracker of another version and start ours, which goes on with the jobs in the store. Blocks.

    Only an application that starts calls this; replicas of the application that it replaces look the new
    tracker up.
    """
    wanted = _version(settings)
    deadline = time.monotonic() + START_SECONDS
    while True:
        actor = get_or_create_tracker(settings)
        try:
            if ray.get(actor.version.remote(), timeout=START_SECONDS) == wanted:
                return
            ray.kill(actor, no_restart=True)
        except ray.exceptions.ActorDiedError:
            if time.monotonic() > deadline:
                raise
        time.sleep(LOOK_AGAIN_SECONDS)


def find_tracker(settings: Settings) -> Any | None:
    """Return the handle of the running tracker; None if there is none."""
    try:
        return ray.get_actor(settings.jobs.tracker_name, namespace=settings.jobs.tracker_namespace)
    except ValueError:
        return None


def get_or_create_tracker(settings: Settings) -> Any:
    """Return the handle of the application's tracker; the first replica that asks starts it.

    The actor is detached, because it must outlive the replica that started it. Its namespace is explicit,
    because inside Serve the default one depends on who started Serve. An SQLite file is on the disk of one
    node, so the tracker must always run there: on the head node, which is the same for every caller.
    """
    return (
        ray.remote(TrackerProcess)
        .options(
            name=settings.jobs.tracker_name,
            namespace=settings.jobs.tracker_namespace,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=100_000,  # most calls wait: polls, event streams, claims
            num_cpus=0,
            resources={HEAD_NODE: 0.001} if settings.jobs.keeps_a_file else None,
            enable_task_events=False,  # Ray's GCS would remember 100,000 heartbeats and polls
        )
        .remote(settings, _version(settings))
    )


@dataclass(frozen=True)
class Actors:
    """Finds and starts trackers by their name: those of Ray."""

    find: Callable[[Settings], Any | None] = find_tracker
    get_or_create: Callable[[Settings], Any] = get_or_create_tracker


def _version(settings: Settings) -> str:
    return tracker_version(settings.model_dump_json())
