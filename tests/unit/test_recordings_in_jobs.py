"""A job tells the codec which part of its source is renewed, and by which gain the source was amplified."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.settings import Settings
from deployments.common.messages import (
    AudioCodes,
    AudioFile,
    DecodeRequest,
    DenoisedLatents,
    DenoiseRequest,
    EncodedAudio,
    EncodeRequest,
    Progress,
    RecordingRefs,
    TokenizeRequest,
    UsedOptions,
    Window,
)
from serve_app.execution.attempt import Attempt
from serve_app.execution.pipeline import run_job
from serve_app.jobs.model import Checkpoint
from serve_app.jobs.progress import JobProgress
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec, Recording
from serve_app.storage import AudioStorage
from tests.job_records import a_job
from tests.latents import HeldLatents
from tests.runner_server import GIVEN, Models

LATENTS = HeldLatents(np.zeros((128, 64), np.float32))
GAIN = 12.5
MISSING = {"bpm": None, "key_scale": "", "time_signature": ""}


class Codec(Models):
    """Reports that the source was amplified, and records its requests."""

    encoded: EncodeRequest
    decoded: DecodeRequest
    heard: TokenizeRequest

    async def encode(self, request: EncodeRequest) -> EncodedAudio:
        await self._enter("encoding")
        self.encoded = request
        return EncodedAudio(LATENTS, GAIN)

    async def tokenize(self, dit: str, request: TokenizeRequest) -> AudioCodes:
        self.heard = request
        return await super().tokenize(dit, request)

    async def denoise(
        self, _dit: str, _requests: tuple[DenoiseRequest, ...], recordings: RecordingRefs
    ) -> AsyncGenerator[tuple[int, Progress | DenoisedLatents], None]:
        assert recordings.source is not None
        yield 0, DenoisedLatents(recordings.source, UsedOptions(8, None))

    async def decode(self, request: DecodeRequest) -> AsyncGenerator[Progress | AudioFile, None]:
        self.decoded = request
        yield AudioFile(request.uri, 4, {"encoding": 0.0})


async def asked(folder: Path, **fields: Any) -> Codec:
    """Return the codec after a job with a source of 4 s."""
    request = GenerateRequest(**{**GIVEN, **fields})
    spec = JobSpec(request, seeds=(1,), source=Recording("memory://source", 4.0))

    async def keep(kept: Checkpoint) -> None:
        assert kept.plan is not None
        assert kept.plan.lm_answered

    storage = AudioStorage(str(folder))
    codec = Codec(storage)
    await run_job(Attempt(a_job(1, spec=spec, attempt=1), codec, storage, Settings(), JobProgress(1), keep))
    return codec


async def test_a_repaint_is_turned_up_around_its_window_and_its_new_part_turned_down(tmp_path: Path) -> None:
    codec = await asked(tmp_path, task_type="repaint", repainting_start=-1.0, repainting_end=2.0)
    assert (codec.encoded.pad_left, codec.encoded.renewed) == (1.0, (0.0, 3.0))
    assert codec.decoded.splice is not None
    assert (codec.decoded.splice.start, codec.decoded.splice.end) == (0.0, 3.0)
    assert codec.decoded.splice.gain == GAIN


@pytest.mark.parametrize("task_type", ["cover", "lego"])
async def test_a_song_that_keeps_no_sample_of_its_source_hears_it_as_it_is(
    tmp_path: Path, task_type: str
) -> None:
    codec = await asked(tmp_path, task_type=task_type)
    assert codec.encoded.renewed is None
    assert codec.decoded.splice is None


async def test_a_source_is_heard_without_the_silence_that_extends_it_and_encoded_once(tmp_path: Path) -> None:
    span = {"repainting_start": -1.0, "repainting_end": 2.0}
    codec = await asked(tmp_path, task_type="repaint", **span, **MISSING)
    assert codec.calls == ["encoding", "tokenizing", "describing"]
    assert codec.heard.window == Window(25, 125)
