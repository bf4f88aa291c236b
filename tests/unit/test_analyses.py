"""Jobs that make no sound, through the pipeline and as polls show them (contract §2)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.domain import code_token
from configs.settings import Settings
from deployments.common.errors import UntrainedError
from deployments.common.messages import EncodedAudio, EncodeRequest
from serve_app.execution.attempt import Attempt
from serve_app.execution.pipeline import run_job
from serve_app.execution.results import ANALYSED
from serve_app.execution.song_planning import UNHEARD_NOTE
from serve_app.jobs.model import Checkpoint, Job, JobState, JobView
from serve_app.jobs.progress import JobProgress
from serve_app.jobs.shown import JobResponse, JobResult
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec, Recording
from serve_app.storage import AudioStorage
from tests.job_records import a_job
from tests.runner_server import CODES, Models

SOURCE = Recording("memory://source", 4.0)
UNKNOWN = (None, None, None)
AS_TEXT = "".join(map(code_token, CODES))


class Analysts(Models):
    """Models that hear a recording, or silence."""

    latents: np.ndarray | None = np.zeros((100, 64), np.float32)

    async def encode(self, _request: EncodeRequest) -> EncodedAudio:
        await self._enter("encoding")
        return EncodedAudio(self.latents)


async def analysed(
    models: Analysts, source: Recording | None, kept: list[Checkpoint] | None = None, **fields: Any
) -> JobResult:
    """The result as a poll shows it. Checkpoints are added to `kept`; the last of them is where it begins."""
    checkpoints = [] if kept is None else kept
    spec = JobSpec(GenerateRequest(**fields), seeds=(5,), source=source)
    job: Job = a_job(1, spec=spec, attempt=1, **({"checkpoint": checkpoints[-1]} if checkpoints else {}))

    async def keep(checkpoint: Checkpoint) -> None:
        checkpoints.append(checkpoint)

    attempt = Attempt(job, models, models.storage, Settings(), JobProgress(1), keep)
    finished = await run_job(attempt)
    assert (finished.files, finished.file_bytes) == ((), 0)
    ended = job.with_(state=JobState.SUCCEEDED, result=finished.result)
    shown = JobResponse.of(JobView.of(ended, 0, None, 1.0, None)).result
    assert shown is not None
    assert (shown.first_audio_path, shown.second_audio_path, shown.audio_paths) == (None, None, [])
    assert shown.status_message.startswith(ANALYSED)
    return shown


def words(result: JobResult) -> tuple[str | None, ...]:
    return tuple(result.metas[name] for name in ("caption", "lyrics", "language"))


@pytest.fixture
def models(tmp_path: Path) -> Analysts:
    return Analysts(AudioStorage(str(tmp_path)))


async def test_the_codes_of_a_recording_need_no_language_model(models: Analysts) -> None:
    result = await analysed(models, SOURCE, output="codes", bpm=100)
    assert models.calls == ["encoding", "tokenizing"]
    assert (result.audio_codes, result.duration, result.bpm) == ([AS_TEXT], 4.0, 100)
    assert (words(result), result.keyscale, result.lm_model) == (UNKNOWN, None, None)
    assert result.metas["output"] == "codes"
    assert result.dit_model == "acestep-v15-turbo"


async def test_a_recording_is_described_and_a_retry_does_not_ask_again(models: Analysts) -> None:
    kept: list[Checkpoint] = []
    result = await analysed(models, SOURCE, kept, output="description", caption="mine")
    assert models.calls == ["encoding", "tokenizing", "describing"]
    assert words(result) == ("described", "5", "fr")
    assert (result.bpm, result.keyscale, result.timesignature, result.duration) == (95, "B minor", "3/4", 4.0)
    assert (result.audio_codes, result.lm_model) == ([AS_TEXT], "acestep-5Hz-lm-0.6B")
    assert result.metas["requested_caption"] == "mine"
    assert (await analysed(models, SOURCE, kept, output="description")).metas["caption"] == "described"
    assert models.calls.count("describing") == 1


async def test_what_the_lm_was_not_trained_to_tell_is_null(models: Analysts) -> None:
    models.failures = {"describing": [UntrainedError("no")]}
    result = await analysed(models, SOURCE, output="description")
    assert (result.audio_codes, result.duration) == ([AS_TEXT], 4.0)
    assert (words(result), result.bpm) == (UNKNOWN, None)
    assert UNHEARD_NOTE in result.status_message


async def test_silence_has_no_codes_and_is_not_described(models: Analysts) -> None:
    models.latents = None
    result = await analysed(models, SOURCE, output="description")
    assert models.calls == ["encoding"]
    assert result.audio_codes == [""]


async def test_metadata_for_texts_comes_without_a_song(models: Analysts) -> None:
    result = await analysed(models, None, output="metadata", caption="mine", key_scale="D dorian")
    assert models.calls == ["planning"]
    assert (words(result), result.audio_codes) == (("mine", "[Instrumental]", "en"), [None])
    assert (result.bpm, result.dit_model, result.lm_model) == (90, None, "acestep-5Hz-lm-0.6B")
