"""A backend whose engine accepts runs but makes no tokens."""

import asyncio
import time

import pytest

from deployments.common.errors import EngineError
from deployments.common.messages import Sampling
from deployments.common.processor_share import FixedShare
from deployments.language_model import threaded_backend
from deployments.language_model.backend import TokenRequest
from deployments.language_model.threaded_backend import Run, ThreadedBackend

REQUEST = TokenRequest([1], None, Sampling(seed=0), range(10), max_tokens=1)


class SilentBackend(ThreadedBackend):
    def __init__(self) -> None:
        super().__init__("a silent engine", FixedShare())
        self._runs: list[Run] = []
        self._start()

    async def _prepare(self, run: Run) -> None: ...

    def _load(self) -> None: ...

    def _admit(self, run: Run) -> None:
        self._runs.append(run)

    def _has_work(self) -> bool:
        return bool(self._runs)

    def _step(self) -> None:
        self._runs = [run for run in self._runs if not run.cancelled]
        time.sleep(0.001)

    def _recovered(self, error: Exception) -> bool:  # noqa: ARG002
        return False

    def _end(self) -> None: ...


async def test_an_engine_with_runs_and_no_tokens_is_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = SilentBackend()
    try:
        run = asyncio.create_task(anext(backend.generate(REQUEST)))
        await asyncio.sleep(0.02)
        await backend.check_health()
        monkeypatch.setattr(threaded_backend, "STALLED_SECONDS", 0.01)
        with pytest.raises(EngineError, match="1 runs got no token for 0 s"):
            await backend.check_health()
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await backend.check_health()
    finally:
        backend.close()


async def test_tokens_of_quick_steps_are_sent_together_and_none_is_kept_back_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threaded_backend, "TELL_SECONDS", 3600.0)
    run = Run(REQUEST, asyncio.get_running_loop())
    for token in (1, 2, 3):
        run.tell([token])
    run.tell(None)
    assert [await run.answers.get() for _ in range(3)] == [[1], [2, 3], None]


async def test_tokens_of_slow_steps_are_sent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threaded_backend, "TELL_SECONDS", 0.0)
    run = Run(REQUEST, asyncio.get_running_loop())
    for token in (1, 2):
        run.tell([token])
    assert [await run.answers.get() for _ in range(2)] == [[1], [2]]


async def test_an_error_comes_after_the_tokens_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threaded_backend, "TELL_SECONDS", 3600.0)
    run = Run(REQUEST, asyncio.get_running_loop())
    error = EngineError("the device is lost")
    for answer in ([1], [2], error):
        run.tell(answer)
    assert [await run.answers.get() for _ in range(3)] == [[1], [2], error]
