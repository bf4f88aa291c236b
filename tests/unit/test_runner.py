"""A runner's handling of a job: retries, cancelling, time limits, and a tracker or model out of reach."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.exceptions

from deployments.common.errors import EngineError, JobError, StorageError
from serve_app.execution import pipeline, runner
from serve_app.execution.failures import INTERNAL, UNAVAILABLE
from serve_app.jobs.model import JobState
from tests.runner_server import CODES, Server, eventually

OWNER_DIED = ray.exceptions.OwnerDiedError("ab" * 28, b"", "")


@pytest.fixture
async def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Server]]:
    monkeypatch.setattr(runner, "CLAIM_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(runner, "RETRY_PAUSE_SECONDS", 0.02)
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
    await eventually(lambda: server.models.stopped == [stage] and not server.files(), seconds=2.0)
    server.models.hangs_in = ""
    assert (await server.ended(await server.submit())).state is JobState.SUCCEEDED
    assert (await server.view(job_id)).state is JobState.CANCELLED


async def test_a_full_storage_costs_an_attempt_whose_files_are_gone_before_the_next(
    started: Started,
) -> None:
    server = started()
    server.models.hangs_in = "denoising"
    server.models.failures = {"decoding": [StorageError("/songs: [Errno 28] No space left on device")]}
    job_id = await server.submit()
    server.models.go_on.set()
    await server.reach("decoding")
    server.models.go_on.clear()
    await eventually(lambda: server.models.calls.count("denoising") == 2)
    assert server.files() == []
    server.models.go_on.set()
    view = await server.ended(job_id)
    assert (view.state, view.attempt, server.files()) == (JobState.SUCCEEDED, 2, [f"{job_id}/2/0.mp3"])


async def test_a_retry_keeps_the_song_that_the_lm_wrote(started: Started) -> None:
    server = started()
    server.models.failures = {"denoising": [EngineError("lost")]}
    job_id = await server.submit(sample_query="a waltz", bpm=None, audio_duration=None)
    view = await server.ended(job_id)
    assert server.models.calls == ["describing", "denoising", "denoising", "decoding"]
    assert view.result is not None
    metas = view.result["metas"]
    assert (metas["caption"], metas["lyrics"], metas["bpm"]) == ("described", "1", 95)
    assert (metas["language"], metas["requested_caption"]) == ("fr", "")


async def test_a_song_that_the_lm_could_not_write_is_written_at_the_next_attempt(started: Started) -> None:
    server = started(plan_timeout_seconds=0.25)  # a description is waited for twice as long
    died = ray.exceptions.ActorDiedError()
    server.models.failures = {"describing": [died], "denoising": [died]}
    view = await server.ended(await server.submit(sample_query="a waltz"))
    assert server.models.calls == ["describing", "denoising", "describing", "denoising", "decoding"]
    assert view.result is not None
    assert view.result["metas"]["caption"] == "described"


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


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_latents_that_are_lost_are_made_again_in_the_same_attempt(started: Started, lost: int) -> None:
    """A release that replaces all replicas loses them once. The third time costs an attempt."""
    server = started()
    server.models.failures = {"decoding": [OWNER_DIED] * lost}
    job_id = await server.submit(thinking=True)
    view = await server.ended(job_id)
    assert server.models.calls == ["composing", *["denoising", "decoding"] * (lost + 1)]
    attempt = 1 if lost < pipeline.SOUND_TRIES else 2
    assert (view.state, view.attempt) == (JobState.SUCCEEDED, attempt)
    assert server.files() == [f"{job_id}/{attempt}/0.mp3"]


async def test_a_retry_asks_the_dit_that_the_job_names(started: Started) -> None:
    server = started()
    server.models.failures = {"denoising": [ray.exceptions.ActorDiedError()]}
    view = await server.ended(await server.submit(dit="acestep-v15-base"))
    assert (view.state, view.attempt) == (JobState.SUCCEEDED, 2)
    assert server.models.dits == ["acestep-v15-base"] * 2
    await server.ended(await server.submit())
    assert server.models.dits[2:] == ["acestep-v15-turbo"]


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
    server = started(plan_timeout_seconds=0.5)
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


async def test_a_failed_attempt_pauses_before_its_job_goes_back_and_not_after_the_last(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = []

    async def wait(tasks: set[asyncio.Task[Any]], timeout: float | None = None, **options: Any) -> Any:
        if timeout is not None:
            pauses.append(timeout)
        return await asyncio.wait(tasks, timeout=timeout, **options)

    monkeypatch.setattr(runner, "asyncio", SimpleNamespace(**vars(asyncio) | {"wait": wait}))
    server = started()
    server.models.failures = {"denoising": [EngineError("gone")] * 3}
    view = await server.ended(await server.submit())
    assert view.attempt == 3
    assert pauses == [runner.RETRY_PAUSE_SECONDS, 4 * runner.RETRY_PAUSE_SECONDS]


async def test_a_job_cancelled_in_the_pause_ends_at_once(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "RETRY_PAUSE_SECONDS", 60.0)
    server = started()
    server.models.failures = {"denoising": [EngineError("gone")]}
    job_id = await server.submit()
    await server.reach("denoising")
    await asyncio.sleep(0.1)
    await server.tracker.actor.cancel(job_id)
    assert (await server.ended(await server.submit())).state is JobState.SUCCEEDED
    assert (await server.view(job_id)).attempt == 1


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
