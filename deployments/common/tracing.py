"""OpenTelemetry spans of jobs.

A span is made after it has ended, from its times and from a W3C trace context, because the context may cross
processes or wait in the job store, and OpenTelemetry's current span can do neither. The SDK is not imported
when the setting `tracing.exporter` is null.
"""

import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from configs.settings import TracingSettings
from deployments.common.messages import Origin

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import SpanContext

NAMESPACE = "acestep"
"""The `service.namespace` of all spans; their `service.name` is the deployment."""
EXPORT_MILLISECONDS = 1000.0
"""Delay of an export. A replica that shuts down still runs for longer than this after its last call."""
NO_EXPORTER = (
    "tracing.exporter is otlp, and its package is not installed: pip install 'acestep-serve[tracing]', or "
    "opentelemetry-exporter-otlp-proto-http"
)

Attributes = Mapping[str, str | int | float]


@dataclass(frozen=True)
class SpanRecorder:
    """Hands the spans of one process to an exporter; does nothing if there is none."""

    processor: "SpanProcessor | None" = None
    resource: "Resource | None" = None

    def record(
        self,
        name: str,
        context: str | None,
        parent: str | None,
        started: float,
        ended: float,
        attributes: Attributes | None = None,
        error: str | None = None,
        link: str | None = None,
    ) -> None:
        """Export a span that has ended, unless its context is None.

        `context` and `parent` are traceparents, times are Unix times in seconds, `error` is the type of the
        exception, `link` the traceparent of a span in another trace.
        """
        if self.processor is None or context is None:
            return
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Link, Status, StatusCode

        said: dict[str, Any] = dict(attributes or {})
        if error is not None:
            said["error.type"] = error
        self.processor.on_end(
            ReadableSpan(
                name,
                context=_span_context(context),
                parent=None if parent is None else _span_context(parent),
                resource=self.resource,
                attributes=said,
                links=() if link is None else (Link(_span_context(link)),),
                status=Status(StatusCode.UNSET if error is None else StatusCode.ERROR),
                start_time=round(started * 1e9),
                end_time=round(max(started, ended) * 1e9),
            )
        )

    @contextmanager
    def span(self, name: str, origin: Origin, attributes: Attributes | None = None) -> Iterator[Origin]:
        """Record a span around a block; yields the origin for the calls that the block makes."""
        if self.processor is None or origin.traceparent is None:
            yield origin
            return
        inner = replace(origin, traceparent=child_of(origin.traceparent))
        started, error = time.time(), None
        try:
            yield inner
        except BaseException as problem:
            error = type(problem).__name__
            raise
        finally:
            self.record(name, inner.traceparent, origin.traceparent, started, time.time(), attributes, error)

    def close(self) -> None:
        """Export the remaining spans."""
        if self.processor is not None:
            self.processor.shutdown()


NO_SPANS = SpanRecorder()


def span_recorder(settings: TracingSettings, service: str) -> SpanRecorder:
    """The recorder of this process; `service` is the name of its deployment.

    Raises RuntimeError if the exporter's package is missing.
    """
    if settings.exporter is None:
        return NO_SPANS
    from opentelemetry.sdk.resources import Resource

    instance = f"{socket.gethostname()}-{os.getpid()}"
    resource = Resource.create(
        {"service.namespace": NAMESPACE, "service.name": service, "service.instance.id": instance}
    )
    return SpanRecorder(_processor(settings, f"{service}-{instance}.jsonl"), resource)


def child_of(parent: str | None) -> str | None:
    """The context of a new span in the trace of `parent`; None if that is None."""
    return None if parent is None else with_span_id(parent, secrets.token_hex(8))


def with_span_id(traceparent: str, span_id: str) -> str:
    """The context of another span of the same trace; `span_id` has 16 hexadecimal digits."""
    version, trace_id, _, flags = traceparent.split("-")
    return f"{version}-{trace_id}-{span_id}-{flags}"


def _processor(settings: TracingSettings, file_name: str) -> "SpanProcessor":
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        ConsoleSpanExporter,
        SimpleSpanProcessor,
    )

    if settings.exporter == "file":
        settings.folder.mkdir(parents=True, exist_ok=True)
        file = (settings.folder / file_name).open("a")
        return SimpleSpanProcessor(
            ConsoleSpanExporter(out=file, formatter=lambda span: f"{span.to_json(indent=None)}\n")
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise RuntimeError(NO_EXPORTER) from error
    return BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=EXPORT_MILLISECONDS)


def _span_context(traceparent: str) -> "SpanContext":
    from opentelemetry.trace import SpanContext, TraceFlags

    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )
