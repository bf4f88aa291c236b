"""Draws the pictures of docs/performance.md."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

from benchmarks.end_to_end.overhead import WORK
from benchmarks.end_to_end.speed import Speeds
from serve_app.admin.trace_tree import Span

mpl.use("agg")

SIZE = (7, 3.5)
DPI = 90


def draw_latency(speeds: dict[str, Speeds], folder: Path) -> None:
    """Draw latency against load: median and 95th percentile by the number of concurrent clients."""
    figure, axes = _figure()
    for color, (name, found) in enumerate(speeds.items()):
        clients = list(found.closed)
        for share, style in ((0.5, "-"), (0.95, "--")):
            latencies = [speed.latency(share) for speed in found.closed.values()]
            label = f"{name}, p{100 * share:.0f}"
            axes.plot(clients, latencies, style, marker="o", color=f"C{color}", label=label)
    axes.set(xlabel="clients at once", ylabel="seconds until the song is there", ylim=(0, None))
    _save(figure, axes, folder / "latency.png")


def draw_throughput(speeds: dict[str, Speeds], folder: Path) -> None:
    """Draw throughput against the number of concurrent clients."""
    figure, axes = _figure()
    for name, found in speeds.items():
        music = [speed.audio_per_second for speed in found.closed.values()]
        axes.plot(list(found.closed), music, marker="o", label=name)
    axes.set(xlabel="clients at once", ylabel="seconds of music a second", ylim=(0, None))
    _save(figure, axes, folder / "throughput.png")


def draw_waterfall(spans: Sequence[Span], folder: Path) -> None:
    """Draw the spans of one job. Spans in which a model computes or a file is written have another colour."""
    began = min(span.started for span in spans)
    spans = _in_order(spans)
    figure, axes = pyplot.subplots(figsize=(SIZE[0], 0.22 * len(spans) + 1), layout="constrained")
    for row, span in enumerate(spans):
        color = "C0" if span.name in WORK else "C7"
        axes.barh(row, span.seconds, left=span.started - began, color=color, height=0.7)
        axes.text(span.ended - began, row, f" {1000 * span.seconds:.0f} ms", va="center", fontsize=6)
    axes.set_yticks(range(len(spans)), [f"{span.name} · {span.service}" for span in spans], fontsize=7)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(xlabel="seconds since the submit")
    figure.savefig(folder / "waterfall.png", dpi=DPI)
    pyplot.close(figure)


def _in_order(spans: Sequence[Span]) -> list[Span]:
    """Return the spans sorted so that each one follows its parent."""
    known = {span.span_id: span for span in spans}

    def path(span: Span) -> tuple[tuple[float, str], ...]:
        parent = known.get(span.parent_id or "")
        return (*(path(parent) if parent else ()), (span.started, span.span_id))

    return sorted(spans, key=path)


def _figure() -> tuple[mpl.figure.Figure, mpl.axes.Axes]:
    figure, axes = pyplot.subplots(figsize=SIZE, layout="constrained")
    return figure, axes


def _save(figure: mpl.figure.Figure, axes: mpl.axes.Axes, file: Path) -> None:
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(file, dpi=DPI)
    pyplot.close(figure)
