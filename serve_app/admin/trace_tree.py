"""A job's trace, read from the files of `tracing.exporter: file` and shown as text."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

JOB, ATTEMPT = "job", "attempt "


@dataclass(frozen=True)
class Span:
    """One line of a file. Times are epoch seconds."""

    name: str
    span_id: str
    parent_id: str | None
    service: str
    started: float
    ended: float
    error: str | None = None

    @property
    def seconds(self) -> float:
        return self.ended - self.started


def read_trace(job_id: str, paths: Iterable[Path]) -> list[Span]:
    """The spans of a job in files and in folders of files, ordered by their start."""
    trace_id = job_id.replace("-", "").lower()
    spans = [
        span
        for path in paths
        for file in (sorted(path.glob("*.jsonl")) if path.is_dir() else [path])
        for span in _spans_in(file, trace_id)
    ]
    return sorted(spans, key=lambda span: (span.started, -span.ended))


def tree(spans: list[Span]) -> list[str]:
    """One line per span: its service, start, duration and share of the job's time."""
    job = job_span(spans)
    beginning = min(span.started for span in spans)
    drawn = [line for root in _roots(spans) for line in _drawn(spans, root)]
    width = max(len(label) for label, _ in drawn)
    return [
        f"{label:<{width}}  {span.service:<14}{span.started - beginning:9.3f} s {span.seconds:9.3f} s"
        + ("" if job is None or not job.seconds else f" {100 * span.seconds / job.seconds:6.1f} %")
        + (f"  {span.error}" if span.error else "")
        for label, span in drawn
    ]


def explained_seconds(spans: list[Span], job: Span) -> float:
    """The sum of the job's waits and of the parts of its attempts.

    An attempt without parts, whose process was killed, counts with its whole duration.
    """
    seconds = 0.0
    for part in _children(spans, job):
        parts = _children(spans, part) if part.name.startswith(ATTEMPT) else []
        seconds += sum(inner.seconds for inner in parts) if parts else part.seconds
    return seconds


def job_span(spans: list[Span]) -> Span | None:
    """The span of the job, recorded at its end; the last one where an operator requeued the job."""
    return next((span for span in reversed(spans) if span.name == JOB), None)


def _drawn(spans: list[Span], span: Span, before: str = "", below: str = "") -> Iterator[tuple[str, Span]]:
    yield before + span.name, span
    children = _children(spans, span)
    for child in children:
        elbow, line = ("└── ", "    ") if child is children[-1] else ("├── ", "│   ")
        yield from _drawn(spans, child, below + elbow, below + line)


def _children(spans: list[Span], parent: Span) -> list[Span]:
    return [span for span in spans if span.parent_id == parent.span_id]


def _roots(spans: list[Span]) -> list[Span]:
    known = {span.span_id for span in spans}
    return [span for span in spans if span.parent_id not in known]


def _spans_in(file: Path, trace_id: str) -> Iterator[Span]:
    with file.open() as lines:
        for line in lines:
            if trace_id not in line:
                continue
            span = json.loads(line)
            if span["context"]["trace_id"] == f"0x{trace_id}":
                yield Span(
                    name=span["name"],
                    span_id=span["context"]["span_id"],
                    parent_id=span["parent_id"],
                    service=span["resource"]["attributes"]["service.name"],
                    started=_epoch(span["start_time"]),
                    ended=_epoch(span["end_time"]),
                    error=span["attributes"].get("error.type"),
                )


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
