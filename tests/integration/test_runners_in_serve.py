"""Runners in a real replica. Their thread calls other deployments while the replica's loop is busy.

Latents go from one deployment to the next through Ray's object store.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray import serve

from configs.settings import Settings
from deployments.common.latents_store import LatentsStore
from deployments.common.messages import (
    AudioFile,
    DecodeRequest,
    DenoisedLatents,
    DenoiseRequest,
    Progress,
    RecordingRefs,
    UsedOptions,
)
from serve_app.draining import release_when_draining
from serve_app.execution.models import HandleModels
from serve_app.execution.runner import Runners
from serve_app.execution.runner_thread import RunnerThread
from serve_app.jobs.client import find_tracker, tracker_client
from serve_app.jobs.model import JobState, JobView, NewJob
from serve_app.readiness import deployments_of, running_replicas
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from serve_app.storage import AudioStorage
from tests.job_tracking import WORK
from tests.latents import random_latents
from tests.ray_nodes import local_ray
from tests.runner_server import GIVEN

LEASE_SECONDS = 2.0
STEPS = 100
FRAMES = 15_000
"""A song of 600 s has this many latent frames."""
PATIENCE_SECONDS = 60.0


@serve.deployment(name="Generator", ray_actor_options={"num_cpus": 0}, graceful_shutdown_timeout_s=20)
class Generator:
    """Yields steps until told to finish a job, and records the jobs whose calls were cancelled."""

    def __init__(self) -> None:
        self._store = LatentsStore()
        self._finished: set[str] = set()
        self._cancelled: list[str] = []

    async def denoise(
        self, requests: tuple[DenoiseRequest, ...], _recordings: RecordingRefs
    ) -> AsyncGenerator[tuple[int, Progress | DenoisedLatents], None]:
        job_id = requests[0].origin.job_id
        step = 0
        try:
            while job_id not in self._finished:
                step = min(step + 1, STEPS)
                yield 0, Progress("denoising", step, STEPS)
                await asyncio.sleep(0.02)
        except BaseException:
            self._cancelled.append(job_id)
            raise
        yield 0, DenoisedLatents(await self._store.put(random_latents(FRAMES)), UsedOptions(8, None))

    async def finish(self, job_id: str) -> None:
        self._finished.add(job_id)

    async def die(self) -> None:
        os._exit(1)

    async def cancelled(self) -> list[str]:
        return self._cancelled


@serve.deployment(name="Codec", ray_actor_options={"num_cpus": 0}, graceful_shutdown_timeout_s=1)
class Codec:
    """Reads the latents of a job as soon as it may; the size of its file is theirs."""

    def __init__(self) -> None:
        self._held: dict[str, asyncio.Event] = {}
        self._called: set[str] = set()

    async def decode(self, request: DecodeRequest) -> AsyncGenerator[Progress | AudioFile, None]:
        job_id = request.origin.job_id
        self._called.add(job_id)
        yield Progress("decoding", 0, 1)
        if job_id in self._held:
            await self._held[job_id].wait()
        latents = await request.latents.read()
        assert np.array_equal(latents, random_latents(FRAMES))
        yield AudioFile(request.uri, latents.nbytes, {"encoding": 0.0})

    async def hold(self, job_id: str) -> None:
        self._held[job_id] = asyncio.Event()

    async def go_on(self, job_id: str) -> None:
        self._held[job_id].set()

    async def was_called(self, job_id: str) -> bool:
        return job_id in self._called


@serve.deployment(name="Ingress", ray_actor_options={"num_cpus": 0}, graceful_shutdown_timeout_s=20)
class Ingress:
    """The real ingress without HTTP, and with a request that keeps its event loop busy."""

    def __init__(self, settings: Settings, generator: Any, codec: Any) -> None:
        models = HandleModels({}, {settings.models.dits[0]: generator}, codec)
        storage = AudioStorage(settings.storage.uri)
        self._runners = RunnerThread(Runners(tracker_client(settings), models, storage, settings))

    async def stay_busy(self, until: Path) -> None:
        _block(until)

    async def stay_open(self, until: Path) -> None:
        """Answer late, as an event stream does. Jobs are released meanwhile as in the real ingress."""
        self._releasing = asyncio.create_task(release_when_draining(self._runners))
        await asyncio.to_thread(_block, until)

    def check_health(self) -> None:
        self._runners.check()

    async def __del__(self) -> None:
        await self._runners.stop()


def _block(until: Path) -> None:
    while not until.exists():
        time.sleep(0.01)


class Jobs:
    """Gives the test access to the tracker."""

    def __init__(self, settings: Settings) -> None:
        self._tracker = tracker_client(settings)

    async def submit(self, job_id: str) -> None:
        await self._tracker.submit(NewJob(job_id, JobSpec(GenerateRequest(**GIVEN), seeds=(1,)), WORK))

    async def cancel(self, job_id: str) -> None:
        await self._tracker.cancel(job_id)

    async def reach(self, job_id: str, state: JobState, progress: float = 0.0, attempt: int = 0) -> JobView:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            view = await self._tracker.view(job_id)
            if view.state is state and view.progress >= progress and view.attempt >= attempt:
                return view
            await asyncio.sleep(0.05)
        raise AssertionError(f"the job did not get there: {view}")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder: Path = tmp_path_factory.mktemp("runners")
    jobs = {"store": str(folder / "jobs.sqlite3"), "tracker_name": folder.name, "runners": 1}
    jobs |= {"lease_seconds": LEASE_SECONDS, "heartbeat_seconds": 0.1}
    return Settings(jobs=jobs, storage={"uri": str(folder / "output")})


@pytest.fixture(scope="module")
def ingress(settings: Settings) -> Iterator[Any]:
    with local_ray():
        serve.start(proxy_location="Disabled")
        yield serve.run(Ingress.bind(settings, Generator.bind(), Codec.bind()), name="runners")
        serve.shutdown()
        if tracker := find_tracker(settings):
            ray.kill(tracker, no_restart=True)


@pytest.fixture
def generator(ingress: Any) -> Any:
    return serve.get_deployment_handle("Generator", ingress.app_name)


@pytest.fixture
def codec(ingress: Any) -> Any:
    return serve.get_deployment_handle("Codec", ingress.app_name)


@pytest.fixture
def jobs(settings: Settings) -> Jobs:
    return Jobs(settings)


def test_the_overviews_are_those_of_serves_status(ingress: Any) -> None:
    expected = serve.status().applications[ingress.app_name].deployments
    assert deployments_of(ingress.app_name) == expected
    assert [running_replicas(overview) for overview in expected.values()] == [1, 1, 1]
    with pytest.raises(KeyError):
        deployments_of("no application")


async def test_a_request_that_blocks_its_loop_for_longer_than_a_lease_costs_no_lease(
    ingress: Any, generator: Any, jobs: Jobs, tmp_path: Path
) -> None:
    enough = tmp_path / "enough"
    await jobs.submit("busy")
    before = await jobs.reach("busy", JobState.RUNNING)
    busy = asyncio.ensure_future(_answer(ingress.stay_busy.remote(enough)))
    await asyncio.sleep(2 * LEASE_SECONDS)
    await jobs.reach("busy", JobState.RUNNING, progress=before.progress + 0.1)
    enough.touch()
    await busy
    await generator.finish.remote("busy")
    assert (await jobs.reach("busy", JobState.SUCCEEDED)).attempt == 1


async def test_a_cancelled_job_stops_the_call_in_another_replica(generator: Any, jobs: Jobs) -> None:
    await jobs.submit("unwanted")
    await jobs.reach("unwanted", JobState.RUNNING, progress=0.5)
    await jobs.cancel("unwanted")
    for _ in range(1000):
        if "unwanted" in await generator.cancelled.remote():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the call goes on")


async def test_latents_that_are_lost_with_their_replica_are_made_again(
    generator: Any, codec: Any, jobs: Jobs
) -> None:
    await codec.hold.remote("lost")
    await jobs.submit("lost")
    await jobs.reach("lost", JobState.RUNNING, progress=0.5)
    await generator.finish.remote("lost")
    await eventually_true(codec.was_called, "lost")
    await asyncio.gather(_answer(generator.die.remote()), return_exceptions=True)
    assert await generator.cancelled.remote() == []  # a new replica, so its end is known everywhere
    await codec.go_on.remote("lost")
    await generator.finish.remote("lost")  # to the replica that took the place of the lost one
    assert (await jobs.reach("lost", JobState.SUCCEEDED)).attempt == 1


async def test_a_replica_that_is_shut_down_hands_its_job_back_while_a_request_is_open(
    ingress: Any, jobs: Jobs, tmp_path: Path
) -> None:
    over = tmp_path / "over"
    await jobs.submit("unfinished")
    await jobs.reach("unfinished", JobState.RUNNING, progress=0.5)
    request = asyncio.ensure_future(_answer(ingress.stay_open.remote(over)))
    deleting = asyncio.ensure_future(asyncio.to_thread(serve.delete, ingress.app_name))
    assert (await jobs.reach("unfinished", JobState.QUEUED)).attempt == 0
    assert not request.done()
    over.touch()
    await request
    await deleting


async def eventually_true(ask: Any, job_id: str) -> None:
    for _ in range(1000):
        if await ask.remote(job_id):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"this did not come true of job {job_id}")


async def _answer(response: Any) -> Any:
    return await response
