"""Keeps the spans of tests in memory and finds them by name."""

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id

from deployments.common.tracing import SpanRecorder


class KeptSpans:
    """A recorder whose spans can be read."""

    def __init__(self, service: str = "Test") -> None:
        self._exporter = InMemorySpanExporter()
        self.recorder = SpanRecorder(
            SimpleSpanProcessor(self._exporter), Resource.create({"service.name": service})
        )

    @property
    def all(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.all]

    def named(self, name: str) -> ReadableSpan:
        """Return the only span with a name."""
        (span,) = [span for span in self.all if span.name == name]
        return span


def context_of(span: ReadableSpan) -> str:
    """Return the span's traceparent."""
    context = span.context
    return (
        f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-{context.trace_flags:02x}"
    )


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    return (
        span.parent is not None
        and span.parent.span_id == parent.context.span_id
        and span.context.trace_id == parent.context.trace_id
    )


def seconds(span: ReadableSpan) -> float:
    return (span.end_time - span.start_time) / 1e9
