"""The metrics of one process, which Ray exports to Prometheus."""

from collections.abc import Iterable
from typing import Any

from ray.serve import metrics

from configs.metrics import Metric


class Meter:
    """Records some of `configs.metrics`. It must be made in the process that measures them.

    In a replica Serve adds the labels `deployment`, `replica` and `application`. Any thread may call it.
    """

    def __init__(self, measured: Iterable[Metric]) -> None:
        self._metrics: dict[Metric, Any] = {metric: _ray_metric(metric) for metric in measured}

    def count(self, metric: Metric, amount: float = 1, value: str | None = None) -> None:
        """Add `amount` to a counter; `value` is the value of its label."""
        if amount:
            self._metrics[metric].inc(amount, _labels(metric, value))

    def set(self, metric: Metric, amount: float) -> None:
        """Set a gauge."""
        self._metrics[metric].set(amount)

    def observe(self, metric: Metric, amount: float, value: str | None = None) -> None:
        """Add an observation to a histogram; `value` is the value of its label."""
        self._metrics[metric].observe(amount, _labels(metric, value))


def _ray_metric(metric: Metric) -> Any:
    labels = (metric.label,) if metric.label else ()
    if metric.kind == "gauge":
        return metrics.Gauge(metric.name, metric.description, labels)
    if metric.kind == "histogram":
        return metrics.Histogram(metric.name, metric.description, list(metric.buckets), labels)
    counter = metrics.Counter(metric.name, metric.description, labels)
    for value in metric.values or (None,):
        # `inc` refuses 0, but Prometheus sees no increase in a series that starts at its first event.
        counter._record(0, _labels(metric, value))
    return counter


def _labels(metric: Metric, value: str | None) -> dict[str, str | None]:
    return {metric.label: value} if metric.label else {}
