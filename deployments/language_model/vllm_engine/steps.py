"""Reports each step of vLLM to an observer."""

from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase

from deployments.language_model.observer import EngineObserver
from deployments.language_model.vllm_engine.run_row import URGENT_ROWS_KEY


class StepLogger(StatLoggerBase):
    """A stat logger for vLLM. Its factory is `partial(StepLogger, observer)`."""

    def __init__(self, observer: EngineObserver, vllm_config: Any, _engine_index: int = 0) -> None:
        self._observer = observer
        urgent = vllm_config.additional_config.get(URGENT_ROWS_KEY, 0)
        self._row_slots: int = vllm_config.scheduler_config.max_num_seqs - urgent

    def record(
        self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
    ) -> None:
        del scheduler_stats, mm_cache_stats, engine_idx
        if iteration_stats is not None:  # each row gets one token per step
            self._observer.stepped(iteration_stats.num_generation_tokens, self._row_slots)

    def log_engine_initialized(self) -> None:
        """Required by the base class; there is nothing to log."""
