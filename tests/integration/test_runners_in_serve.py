"""Runners in a real replica. Their thread calls other deployments while the replica's loop is busy."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import serve

from configs.settings import Settings
from deployments.common.messages import AudioFile, DecodeRequest, DenoisedLatents, DenoiseRequest, Progress
from serve_app.execution.models import HandleModels
from serve_app.execution.runner import Runners
from serve_app.execution.runner_thread import RunnerThread
from serve_app.jobs.client import find_tracker, tracker_client
from serve_app.jobs.model import JobState, JobView, NewJob
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from serve_app.storage import AudioStorage
from tests.job_tracking import WORK
from tests.runner_server import GIVEN

LEASE_SECONDS = 2.0
STEPS = 100
PATIENCE_SECONDS = 60.0


@serve.deployment(name="Generator", ray_actor_options={"num_cpus": 0}, graceful_shutdown_timeout_s=20)
class Generator:
    """Yields steps until told to finish a job, and records the jobs whose calls were cancelled."""

    def __init__(self) -> None:
        self._finished: set[str] = set()
        self._cancelled: list[str] = []

    async def denoise(
        self, requests: tuple[DenoiseRequest, ...]
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
        yield 0, DenoisedLatents(None, 8, None)

    async def finish(self, job_id: str) -> None:
        self._finished.add(job_id)

    async def cancelled(self) -> list[str]:
        return self._cancelled


@serve.deployment(name="Codec", ray_actor_options={"num_cpus": 0}, graceful_shutdown_timeout_s=1)
class Codec:
    async def decode(self, request: DecodeRequest) -> AsyncGenerator[Progress | AudioFile, None]:
        yield Progress("decoding", 0, 1)
        yield AudioFile(request.uri, 0, {"encoding": 0.0})


@serve.deployment(name="Ingress", ray_actor_options={"num_cpus": 0}, graceful_shutdown_timeout_s=20)
class Ingress:
    """The real ingress without HTTP, and with a request that keeps its event loop busy."""

    def __init__(self, settings: Settings, generator: Any, codec: Any) -> None:
        models = HandleModels({}, {settings.models.dits[0]: generator}, codec)
        storage = AudioStorage(settings.storage.uri)
        self._runners = RunnerThread(Runners(tracker_client(settings), models, storage, settings))

    async def stay_busy(self, until: Path) -> None:
        _block(until)

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

    async def reach(self, job_id: str, state: JobState, progress: float = 0.0) -> JobView:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            view = await self._tracker.view(job_id)
            if view.state is state and view.progress >= progress:
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
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    serve.start(proxy_location="Disabled")
    yield serve.run(Ingress.bind(settings, Generator.bind(), Codec.bind()), name="runners")
    serve.shutdown()
    if tracker := find_tracker(settings):
        ray.kill(tracker, no_restart=True)
    ray.shutdown()


@pytest.fixture
def generator(ingress: Any) -> Any:
    return serve.get_deployment_handle("Generator", ingress.app_name)


@pytest.fixture
def jobs(settings: Settings) -> Jobs:
    return Jobs(settings)


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


async def test_a_replica_that_is_shut_down_hands_its_job_back(ingress: Any, jobs: Jobs) -> None:
    await jobs.submit("unfinished")
    await jobs.reach("unfinished", JobState.RUNNING, progress=0.5)
    await asyncio.to_thread(serve.delete, ingress.app_name)
    assert (await jobs.reach("unfinished", JobState.QUEUED)).attempt == 0


async def _answer(response: Any) -> Any:
    return await response
