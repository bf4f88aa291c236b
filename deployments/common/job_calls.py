"""What a model deployment tells about each call for a job: a span with its phases, and a line of the log."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from configs.settings import TracingSettings
from deployments.common.job_log import log_event
from deployments.common.messages import Origin
from deployments.common.tracing import child_of, span_recorder

Enter = Callable[[str], None]
"""Begins a phase; nothing happens where it has begun already."""


class JobCalls:
    """The calls of one replica."""

    def __init__(self, settings: TracingSettings, deployment: str) -> None:
        self._spans = span_recorder(settings, deployment)
        self._deployment = deployment

    @contextmanager
    def call(self, name: str, origin: Origin, first_phase: str | None = None) -> Iterator[Enter]:
        """Around one call. Phases follow each other without a gap, `first_phase` from the beginning."""
        started = time.time()
        phases = [] if first_phase is None else [(first_phase, started)]

        def enter(phase: str) -> None:
            if phases[-1][0] != phase:
                phases.append((phase, time.time()))

        error = None
        try:
            with self._spans.span(name, origin) as inner:
                try:
                    yield enter
                finally:
                    self._record(phases, inner)
        except BaseException as problem:
            error = type(problem).__name__
            raise
        finally:
            self._log(name, origin, time.time() - started, error)

    def _record(self, phases: list[tuple[str, float]], call: Origin) -> None:
        ends = [started for _, started in phases[1:]] + [time.time()]
        for (phase, started), ended in zip(phases, ends, strict=False):
            self._spans.record(phase, child_of(call.traceparent), call.traceparent, started, ended)

    def _log(self, name: str, origin: Origin, seconds: float, error: str | None) -> None:
        if origin.job_id:  # else it was a warm-up
            call = f"{self._deployment}.{name}"
            outcome = "succeeded" if error is None else error
            log_event("call_done", origin.job_id, call=call, seconds=seconds, outcome=outcome)
