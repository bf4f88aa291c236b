"""Measures what the server adds to one job: the time outside model calls and file writes, by span.

Waiting inside such a call (for a thread, or for vLLM's process) counts as part of the call.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from benchmarks.end_to_end import mix
from benchmarks.end_to_end.load import Record, client, run_job
from benchmarks.end_to_end.report import Report
from benchmarks.end_to_end.servers import Server
from benchmarks.end_to_end.sizes import Size
from benchmarks.measuring import Table
from serve_app.admin.trace_tree import Span, job_span, read_trace

WORK = frozenset({"plan", "prefill", "codes", "preparing", "steps", "reading", "tiles", "writing"})
"""Spans in which a model computes, or a file is read or written."""
ON_THE_WAY, ON_THE_WAY_BACK = "way to the server", "way back"
LIMIT_MS = 150
FLUSH_SECONDS = 15.0
"""Seconds to wait for spans, which other processes write some seconds after they ended."""


@dataclass(frozen=True)
class Part:
    """The share of a job's time that one span takes.

    A moment belongs to the deepest span that covers it, and spans of WORK come first.
    """

    name: str
    service: str
    seconds: float
    is_work: bool


def parts_of(spans: Sequence[Span], began: float, seen: float) -> list[Part]:
    """Divide the time from `began` until the client had `seen` the end (epoch seconds) into parts.

    Every moment belongs to exactly one part.
    """
    job = job_span(list(spans))
    if job is None:
        raise ValueError("the trace has no span of its job")
    depths = _depths(spans)
    edges = sorted({began, job.ended, *(edge for span in spans for edge in (span.started, span.ended))})
    seconds: dict[tuple[str, str], float] = {}
    for start, stop in pairwise(edges):
        if start < began or stop > job.ended:
            continue
        over = [span for span in spans if span.started <= start and span.ended >= stop]
        deepest = max(over, key=lambda span: (span.name in WORK, depths[span.span_id]), default=None)
        key = (deepest.name, deepest.service) if deepest else (ON_THE_WAY, "client")
        seconds[key] = seconds.get(key, 0.0) + stop - start
    seconds[ON_THE_WAY_BACK, "client"] = max(0.0, seen - job.ended)
    return [Part(name, service, total, name in WORK) for (name, service), total in seconds.items()]


def overhead(server: Server, size: Size, report: Report) -> list[Span]:
    """Measure some jobs, and return the spans of the last one for a picture."""
    jobs = [asyncio.run(_job(server, size.durations[0], seed)) for seed in range(size.overhead_jobs)]
    time.sleep(FLUSH_SECONDS)
    traces = [read_trace(job.job_id, [server.traces]) for job in jobs]
    parts = [parts_of(spans, job.submitted, job.seen) for job, spans in zip(jobs, traces, strict=True)]
    report.table(f"One job of {size.durations[0]} s: where its time goes (mean of {len(jobs)})", table(parts))
    added = sum(part.seconds for job in parts for part in job if not part.is_work) / len(jobs)
    report.goal("what the server adds to one job", 1000 * added, "≤", LIMIT_MS, "ms")
    return traces[-1]


def table(jobs: Sequence[Sequence[Part]]) -> Table:
    """Return the mean milliseconds of each part, in the order in which the parts occur."""
    sums: dict[Part, float] = {}
    for part in (part for parts in jobs for part in parts):
        key = replace(part, seconds=0.0)
        sums[key] = sums.get(key, 0.0) + 1000 * part.seconds / len(jobs)
    rows = [
        {
            "span": part.name,
            "of": part.service,
            "work, ms": mean if part.is_work else 0.0,
            "added, ms": 0.0 if part.is_work else mean,
        }
        for part, mean in sums.items()
    ]
    work, added = (sum(sums[part] for part in sums if part.is_work is wanted) for wanted in (True, False))
    return [*rows, {"span": "all", "of": "", "work, ms": work, "added, ms": added}]


async def _job(server: Server, duration: int, seed: int) -> Record:
    async with client(server.url) as http:
        return await run_job(http, mix.one_song(duration, seed))


def _depths(spans: Sequence[Span]) -> dict[str, int]:
    parents = {span.span_id: span.parent_id for span in spans}

    def depth(span_id: str | None) -> int:
        return 0 if span_id is None or span_id not in parents else 1 + depth(parents[span_id])

    return {span_id: depth(span_id) for span_id in parents}
