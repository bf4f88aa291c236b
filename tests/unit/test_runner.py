"""A runner with the real tracker, actor code and storage; the models answer as told."""

import asyncio
import io
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray.exceptions

from configs.settings import Settings
from deployments.errors import EngineError, JobError
from deployments.messages import (
    AudioCodes,
    AudioFile,
    ComposeRequest,
    DecodeRequest,
    DenoisedLatents,
    DenoiseRequest,
    EncodedAudio,
    EncodeRequest,
    Metadata,
    PlanRequest,
    Progress,
)
from serve_app import runner
from serve_app.api.schemas import GenerateRequest
from serve_app.failures import INTERNAL, UNAVAILABLE
from serve_app.jobs.actor import JobTrackerActor
from serve_app.jobs.model import JobSpec, JobState, JobView, NewJob
from serve_app.runner import Runners
from serve_app.storage import AudioStorage
from tests.job_tracking import WORK

GIVEN = {"audio_duration": 1.0, "bpm": 100, "key_scale": "C", "time_signature": "4/4"}
CODES = (1, 2, 3, 4, 5)
SONG = b"a song"


async def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    for _ in range(int(seconds * 100)):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"this did not come true within {seconds} s")


@dataclass
class Models:
    """Each stage answers at once, unless told what to raise first, or where to wait until told to go on."""

    storage: AudioStorage
    failures: dict[str, list[Exception]] = field(default_factory=dict)
    hangs_in: str = ""
    calls: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    """Stages that were cancelled while they waited."""
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def _enter(self, stage: str) -> None:
        self.calls.append(stage)
        if failures := self.failures.get(stage):
            raise failures.pop(0)
        if stage == self.hangs_in:
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.stopped.append(stage)
                raise

    async def plan(self, _language_model: str, _request: PlanRequest) -> Metadata:
        await self._enter("planning")
        return Metadata(90, "A minor", "3/4", 1.0)

    async def compose(
        self, _language_model: str, _request: ComposeRequest
    ) -> AsyncGenerator[Progress | AudioCodes, None]:
        yield Progress("composing", 0, 1)
        await self._enter("composing")
        yield AudioCodes(CODES)

    async def encode(self, _request: EncodeRequest) -> EncodedAudio:
        raise AssertionError("no job here has a recording")

    async def denoise(
        self, requests: tuple[DenoiseRequest, ...]
    ) -> AsyncGenerator[tuple[int, Progress | DenoisedLatents], None]:
        await self._enter("denoising")
        for item in range(len(requests)):
            yield item, DenoisedLatents(None, 8, None)  # nobody here listens to them

    async def decode(self, request: DecodeRequest) -> AsyncGenerator[Progress | AudioFile, None]:
        yield Progress("decoding", 0, 1)
        await asyncio.to_thread(self.storage.write, request.uri, io.BytesIO(SONG))
        await self._enter("decoding")
        yield AudioFile(request.uri, len(SONG), request.seconds, {"encoding": 0.0})


class Tracker:
    """Calls the actor's methods without Ray; `away` is what every call raises instead."""

    def __init__(self, settings: Settings) -> None:
        self.actor = JobTrackerActor(settings)
        self.away: Exception | None = None

    async def call(self, method: str, *arguments: Any) -> Any:
        if self.away is not None:
            raise self.away
        return await getattr(self.actor, method)(*arguments)


class Server:
    """One ingress replica's runners, their tracker and storage."""

    def __init__(self, folder: Path, **jobs: Any) -> None:
        limits = {"lease_seconds": 5.0, "heartbeat_seconds": 0.05, "runners": 1, "store": "memory", **jobs}
        self.settings = Settings(jobs=limits, storage={"uri": str(folder), "sweep_seconds": 0.1})
        self.folder = folder
        self.tracker = Tracker(self.settings)
        self.models = Models(AudioStorage(str(folder)))
        self.start()

    def start(self) -> None:
        self.runners = Runners(self.tracker, self.models, self.models.storage, self.settings)
        self.runners.start()

    async def submit(self, **fields: Any) -> str:
        job_id = f"job-{len(list(self.folder.iterdir()))}-{len(self.models.calls)}"
        spec = JobSpec(GenerateRequest(**{**GIVEN, **fields}), seeds=(1,))
        await self.tracker.actor.submit(NewJob(job_id, spec, WORK))
        return job_id

    async def view(self, job_id: str) -> JobView:
        view = await self.tracker.actor.view(job_id)
        assert view is not None
        return view

    async def ended(self, job_id: str) -> JobView:
        for _ in range(1000):
            if (view := await self.view(job_id)).state.is_final:
                return view
            await asyncio.sleep(0.01)
        raise AssertionError(f"the job does not end: {view}")

    async def reach(self, stage: str) -> None:
        await eventually(lambda: stage in self.models.calls)

    def files(self) -> list[str]:
        return [str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture
async def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Server]]:
    monkeypatch.setattr(runner, "CLAIM_WAIT_SECONDS", 0.05)
    servers: list[Server] = []

    def start(**jobs: Any) -> Server:
        servers.append(Server(tmp_path, **jobs))
        return servers[-1]

    yield start
    for server in servers:
        server.tracker.away = None
        await server.runners.stop()
        await server.tracker.actor.close()


Started = Callable[..., Server]


async def test_a_job_goes_through_all_stages_to_its_file(started: Started) -> None:
    server = started()
    job_id = await server.submit(thinking=True)
    view = await server.ended(job_id)
    assert view.state is JobState.SUCCEEDED
    assert server.models.calls == ["composing", "denoising", "decoding"]
    assert server.files() == [f"{job_id}/1/0.mp3"]
    server.runners.check()


@pytest.mark.parametrize("stage", ["composing", "denoising", "decoding"])
async def test_cancelling_stops_the_work_at_once_and_leaves_no_file(started: Started, stage: str) -> None:
    server = started()
    server.models.hangs_in = stage
    job_id = await server.submit(thinking=True)
    await server.reach(stage)
    await server.tracker.actor.cancel(job_id)
    await eventually(lambda: server.models.stopped == [stage] and not server.files(), seconds=0.5)
    server.models.hangs_in = ""
    assert (await server.ended(await server.submit())).state is JobState.SUCCEEDED
    assert (await server.view(job_id)).state is JobState.CANCELLED


async def test_a_retry_goes_on_after_the_last_finished_stage(started: Started) -> None:
    server = started()
    server.models.failures = {"denoising": [ray.exceptions.ActorDiedError()]}
    job_id = await server.submit(thinking=True, bpm=None)
    view = await server.ended(job_id)
    assert view.state is JobState.SUCCEEDED
    assert view.result is not None
    assert server.models.calls == ["planning", "composing", "denoising", "denoising", "decoding"]
    assert (view.result["bpm"], view.attempt) == (90, 2)
    assert view.result["audio_codes"] == ["".join(f"<|audio_code_{code}|>" for code in CODES)]
    assert {"planning", "composing", "denoising", "decoding"} <= view.result["timings"].keys()


async def test_a_language_model_that_comes_back_in_time_still_plans(started: Started) -> None:
    server = started()
    server.models.failures = {"planning": [ray.exceptions.ActorDiedError(), EngineError("dead")]}
    view = await server.ended(await server.submit(bpm=None))
    assert view.result is not None
    assert view.result["bpm"] == 90
    assert "not available" not in view.result["status_message"]


async def test_a_plan_made_without_the_language_model_is_not_kept_for_the_next_attempt(
    started: Started,
) -> None:
    server = started(plan_timeout_seconds=0.1)
    died = ray.exceptions.ActorDiedError()
    server.models.failures = {"planning": [died], "denoising": [died]}
    view = await server.ended(await server.submit(thinking=True, bpm=None))
    assert view.result is not None
    assert server.models.calls[:5] == ["planning", "composing", "denoising", "planning", "composing"]
    assert view.result["bpm"] == 90


async def test_without_the_language_model_metadata_is_left_out_and_the_user_told(started: Started) -> None:
    server = started(plan_timeout_seconds=0.1)
    server.models.hangs_in = "planning"
    view = await server.ended(await server.submit(bpm=None))
    assert view.result is not None
    assert view.result["bpm"] is None
    assert "language model was not available" in view.result["status_message"]


@pytest.mark.parametrize(
    ("error", "message", "attempts"),
    [
        (JobError("The music came out silent."), "The music came out silent.", 1),
        (KeyError("somebody's lyrics"), INTERNAL, 1),
        (EngineError("gone"), UNAVAILABLE, 3),
    ],
)
async def test_only_what_a_retry_can_mend_is_tried_again(
    started: Started,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    message: str,
    attempts: int,
) -> None:
    server = started()
    server.models.failures = {"denoising": [error] * 5}
    with caplog.at_level(logging.INFO, logger="ray.serve"):
        caplog.handler.setLevel(logging.INFO)
        logging.getLogger("ray.serve").addHandler(caplog.handler)
        view = await server.ended(await server.submit())
        logging.getLogger("ray.serve").removeHandler(caplog.handler)
    assert (view.state, view.error, view.attempt) == (JobState.FAILED, message, attempts)
    assert view.job_id in caplog.text
    assert type(error).__name__ in caplog.text
    assert "_enter" in caplog.text
    assert "lyrics" not in caplog.text


async def test_a_job_that_runs_too_long_fails_with_a_sentence(started: Started) -> None:
    server = started(timeout_seconds=0.2)
    server.models.hangs_in = "denoising"
    view = await server.ended(await server.submit())
    assert view.error == "This job ran for longer than the 0.2 s that the server allows."
    assert view.attempt == 1
    assert server.models.stopped == ["denoising"]


async def test_a_runner_that_stops_hands_its_job_back_uncounted(started: Started) -> None:
    server = started()
    server.models.hangs_in = "denoising"
    job_id = await server.submit(thinking=True)
    await server.reach("denoising")
    await server.runners.stop()
    view = await server.view(job_id)
    assert (view.state, view.attempt) == (JobState.QUEUED, 0)
    assert server.models.stopped == ["denoising"]
    server.models.hangs_in = ""
    server.start()
    assert (await server.ended(job_id)).attempt == 1
    assert server.models.calls.count("composing") == 1


async def test_a_result_waits_for_a_tracker_that_is_away(started: Started) -> None:
    server = started()
    server.models.hangs_in = "decoding"
    job_id = await server.submit()
    await server.reach("decoding")
    server.tracker.away = ray.exceptions.ActorUnavailableError("gone", None)
    server.models.go_on.set()
    await asyncio.sleep(0.2)
    assert (await server.view(job_id)).state is JobState.RUNNING
    server.tracker.away = None
    view = await server.ended(job_id)
    assert (view.state, view.attempt) == (JobState.SUCCEEDED, 1)


async def test_work_stops_when_the_lease_must_have_ended_for_a_tracker_out_of_reach(
    started: Started,
) -> None:
    server = started(lease_seconds=0.4)
    server.models.hangs_in = "denoising"
    job_id = await server.submit()
    await server.reach("denoising")
    server.tracker.away = ray.exceptions.ActorUnavailableError("gone", None)
    await eventually(lambda: server.models.stopped == ["denoising"])
    server.models.hangs_in = ""
    server.tracker.away = None
    assert (await server.ended(job_id)).state is JobState.SUCCEEDED
    assert server.models.calls.count("denoising") == 2
