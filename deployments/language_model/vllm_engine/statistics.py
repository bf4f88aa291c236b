"""vLLM's own metrics, recorded a few times a second."""

import time
from typing import Any

from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

PERIOD_SECONDS = 0.25
"""Least time between two records of steps in which no run begins or ends."""


class SampledStatLogger(RayPrometheusStatLogger):  # type: ignore[misc]
    """Records vLLM's statistics in Ray's metrics.

    Ray takes several microseconds for each of some twenty values, at every step as long as a tenth of its
    other work on the host. So steps that only continue their runs are sampled: counters stay complete, and
    histograms of single steps hold the sampled ones.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._due = 0.0
        self._uncounted_tokens = 0

    def record(
        self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
    ) -> None:
        now = time.monotonic()
        if now < self._due and _only_continues(scheduler_stats, iteration_stats):
            self._uncounted_tokens += iteration_stats.num_generation_tokens
            return
        self._due = now + PERIOD_SECONDS
        self.counter_generation_tokens[engine_idx].inc(self._uncounted_tokens)
        self._uncounted_tokens = 0
        super().record(scheduler_stats, iteration_stats, mm_cache_stats, engine_idx)


def _only_continues(scheduler_stats: Any, iteration_stats: Any) -> bool:
    """Whether no run began, got its first token or ended in a step."""
    return (
        scheduler_stats is not None
        and iteration_stats is not None
        and not scheduler_stats.prefix_cache_stats.requests
        and not iteration_stats.time_to_first_tokens_iter
        and not iteration_stats.finished_requests
        and not iteration_stats.num_preempted_reqs
    )
