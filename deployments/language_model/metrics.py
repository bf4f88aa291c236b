"""The LM's metrics for Prometheus: the server's own, and vLLM's under vLLM's names."""

from functools import partial
from typing import Any

from configs import metrics
from deployments.common.meter import Meter
from deployments.language_model.observer import EngineObserver


class LanguageModelMetrics(EngineObserver):
    """Counts what the engines report. It must be made in the replica's process."""

    def __init__(self) -> None:
        self._meter = Meter(metrics.LANGUAGE_MODEL_METRICS)

    def began(self, guided: bool) -> None:
        if guided:
            self._meter.count(metrics.LM_GUIDED_PAIRS)

    def wrote(self, tokens: int) -> None:
        self._meter.count(metrics.LM_TOKENS, tokens)

    def stepped(self, rows: int, row_slots: int) -> None:
        self._meter.count(metrics.LM_ROWS, rows)
        self._meter.count(metrics.LM_ROW_SLOTS, row_slots)

    def vllm_stat_loggers(self) -> list[Any]:
        from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

        from deployments.language_model.vllm_engine.steps import StepLogger

        return [RayPrometheusStatLogger, partial(StepLogger, self)]
