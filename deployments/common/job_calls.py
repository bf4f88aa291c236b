"""Traces and logs of the calls of a model deployment: a span with its phases and a log line for each call."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from configs.settings import TracingSettings
from deployments.common.job_log import expected_failures_need_no_traceback, log_event
from deployments.common.messages import Origin
from deployments.common.tracing import child_of, span_recorder

Enter = Callable[[str], None]
"""Starts the phase of this name; does nothing if that phase is the current one."""


class JobCalls:
    """Records the calls of one replica."""

    def __init__(self, settings: TracingSettings, deployment: str) -> None:
        expected_failures_need_no_traceback()
        self._spans = span_recorder(settings, deployment)
        self._deployment = deployment

    @contextmanager
    def call(self, name: str, origin: Origin, first_phase: str | None = None) -> Iterator[Enter]:
        """Record the call that the block makes. Phases follow each other without a gap.

        `first_phase` starts with the call; without it the call must not enter any.
        """
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
        if origin.job_id:  # a warm-up has none
            call = f"{self._deployment}.{name}"
            outcome = "succeeded" if error is None else error
            log_event("call_done", origin.job_id, call=call, seconds=seconds, outcome=outcome)
