"""How one attempt follows the answers of a deployment, item by item."""

from collections.abc import AsyncGenerator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from configs.settings import Settings
from deployments.common.messages import AudioCodes, Progress
from serve_app.execution.attempt import Attempt
from serve_app.jobs.progress import JobProgress
from serve_app.storage import AudioStorage

ITEMS = 2
FIRST, SECOND = AudioCodes((1,)), AudioCodes((2,))


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    job: Any = SimpleNamespace(spec=SimpleNamespace(seeds=(0,) * ITEMS))
    models: Any = None
    keep: Any = None
    return Attempt(job, models, AudioStorage(str(tmp_path)), Settings(), JobProgress(ITEMS), keep)


async def stream(*answers: Any) -> AsyncGenerator[Any, None]:
    for answer in answers:
        yield answer


async def test_one_call_answers_for_all_items_in_any_order(attempt: Attempt) -> None:
    half = Progress("denoising", 1, 2)
    answers = stream((1, half), (0, half), (1, SECOND), (0, FIRST))
    assert await attempt.all_items(AudioCodes, answers) == [FIRST, SECOND]
    assert attempt.progress.stage == "denoising"


async def test_each_item_has_a_call_of_its_own(attempt: Attempt) -> None:
    calls = [stream(Progress("composing", 1, 2), FIRST), stream(SECOND)]
    assert await attempt.each_item(AudioCodes, lambda item: calls[item]) == [FIRST, SECOND]


async def test_a_stream_that_ends_early_is_an_error(attempt: Attempt) -> None:
    with pytest.raises(RuntimeError, match="without its AudioCodes"):
        await attempt.all_items(AudioCodes, stream((0, FIRST)))
    with pytest.raises(RuntimeError, match="without its AudioCodes"):
        await attempt.each_item(AudioCodes, lambda _: stream(Progress("composing", 1, 2)))
