"""The LM's metrics for Prometheus: the server's own, and vLLM's under vLLM's names."""

import threading
from functools import partial
from typing import Any

from configs import metrics
from deployments.common.meter import Meter
from deployments.language_model.observer import EngineObserver


class LanguageModelMetrics(EngineObserver):
    """Counts what the engines report. It must be made in the replica's process."""

    def __init__(self) -> None:
        self._meter = Meter(metrics.LANGUAGE_MODEL_METRICS)
        self._rows = self._row_slots = 0
        """Rows and room for rows in steps that the metrics do not count yet."""
        self._lock = threading.Lock()

    def began(self, guided: bool) -> None:
        if guided:
            self._meter.count(metrics.LM_GUIDED_PAIRS)

    def wrote(self, tokens: int) -> None:
        self._meter.count(metrics.LM_TOKENS, tokens)
        with self._lock:
            rows, row_slots = self._rows, self._row_slots
            self._rows = self._row_slots = 0
        self._meter.count(metrics.LM_ROWS, rows)
        self._meter.count(metrics.LM_ROW_SLOTS, row_slots)

    def stepped(self, rows: int, row_slots: int) -> None:
        with self._lock:  # counted with the tokens that the step wrote, so that the engine need not wait
            self._rows += rows
            self._row_slots += row_slots

    def vllm_stat_loggers(self) -> list[Any]:
        from deployments.language_model.vllm_engine.statistics import SampledStatLogger
        from deployments.language_model.vllm_engine.steps import StepLogger

        return [SampledStatLogger, partial(StepLogger, self)]
