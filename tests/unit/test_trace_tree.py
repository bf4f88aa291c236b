"""A trace that is read back from files."""

from pathlib import Path

import pytest

from configs.settings import TracingSettings
from deployments.common.messages import Origin
from deployments.common.tracing import SpanRecorder, child_of, span_recorder
from serve_app.admin import main
from serve_app.admin.trace_tree import explained_seconds, job_span, read_trace

JOB_ID = "0af76519-16cd-43dd-8448-eb211c80319c"
SUBMIT = f"00-{JOB_ID.replace('-', '')}-b7ad6b7169203331-01"
TREE = """\
submit               Ingress           0.000 s     0.010 s    0.2 %
└── job              JobTracker        0.005 s     4.000 s  100.0 %
    ├── waiting      JobTracker        0.005 s     1.000 s   25.0 %
    ├── attempt 1    JobTracker        1.005 s     0.500 s   12.5 %  lost
    └── attempt 2    JobTracker        1.505 s     2.500 s   62.5 %
        ├── first    Ingress           1.505 s     1.000 s   25.0 %
        │   └── ask  Codec             1.605 s     0.800 s   20.0 %
        └── second   Ingress           2.505 s     1.400 s   35.0 %
Waiting and the parts of its attempts are 97.5 % of the job's 4.000 s."""


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """Write the files of a job whose first attempt was killed, and of another job."""
    settings = TracingSettings(exporter="file", folder=tmp_path)
    ingress, tracker, codec = (
        span_recorder(settings, service) for service in ("Ingress", "JobTracker", "Codec")
    )

    def record(
        by: SpanRecorder,
        name: str,
        parent: str | None,
        started: float,
        seconds: float,
        error: str | None = None,
    ) -> str:
        context = child_of(SUBMIT)
        by.record(name, context, parent, 1e9 + started, 1e9 + started + seconds, error=error)
        return context

    job = child_of(SUBMIT)
    record(tracker, "waiting", job, 0.005, 1.0)
    record(tracker, "attempt 1", job, 1.005, 0.5, error="lost")
    attempt = record(tracker, "attempt 2", job, 1.505, 2.5)
    first = record(ingress, "first", attempt, 1.505, 1.0)
    record(codec, "ask", first, 1.605, 0.8)
    record(ingress, "second", attempt, 2.505, 1.4)
    tracker.record("job", job, SUBMIT, 1e9 + 0.005, 1e9 + 4.005)
    ingress.record("submit", SUBMIT, None, 1e9, 1e9 + 0.01)
    with ingress.span("another job", Origin("", f"00-{'1' * 32}-{'2' * 16}-01")):
        pass
    return tmp_path


def test_the_command_prints_the_tree(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", JOB_ID, "--spans", str(traces)]) == 0
    assert capsys.readouterr().out.rstrip("\n") == TREE


def test_files_may_be_named_one_by_one(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(file) for file in traces.iterdir() if not file.name.startswith("Codec")]
    assert main(["trace", JOB_ID, "--spans", *files]) == 0
    shown = capsys.readouterr().out
    assert "second" in shown
    assert "ask" not in shown


def test_parts_whose_whole_is_not_there_are_shown_all_the_same(
    traces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (codec,) = traces.glob("Codec-*")
    assert main(["trace", JOB_ID, "--spans", str(codec)]) == 0
    assert capsys.readouterr().out.startswith("ask")


@pytest.mark.parametrize("where", ["", "no such file"])
def test_a_job_without_spans_is_told_so(traces: Path, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", JOB_ID.replace("0", "1"), "--spans", str(traces / where)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_a_job_that_still_runs_has_no_span_of_its_own_yet(traces: Path) -> None:
    spans = read_trace(JOB_ID, [traces])
    job = job_span(spans)
    assert job is not None
    assert explained_seconds(spans, job) == pytest.approx(3.9)
    assert job_span([span for span in spans if span is not job]) is None
