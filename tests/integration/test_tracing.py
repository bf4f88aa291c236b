"""One job followed through the processes of a running server, by its trace and by its lines in the logs."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from serve_app.admin import main
from serve_app.admin.trace_tree import Span, explained_seconds, job_span, read_trace
from tests.live_server import Client

MARKER = "a-song-nobody-should-read-of"
SPANS_SECONDS = 10.0


@dataclass(frozen=True)
class Made:
    """A job that has ended."""

    job_id: str
    seconds: float
    """Seconds from accepted to succeeded, as a poll reports them."""
    spans: list[Span]
    lines: dict[str, list[dict[str, Any]]]
    """The lines of all logs about the job, by the part of the server."""


def lines_about(job_id: str, logs: Iterable[Path]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for log in logs:
        lines = [json.loads(line) for line in log.read_text().splitlines() if f'"{job_id}"' in line]
        lines = [line for line in lines if line.get("music_job_id") == job_id]
        for line in lines:
            part = line.get("deployment", line["component_name"]).removeprefix("acestep_")
            found.setdefault(part, []).append(line)
    return found


def traces(server: Client) -> Path:
    return server.audio_in.parent / "traces"


def spans_of(server: Client, job_id: str, last: str) -> list[Span]:
    """Return all spans of a job. Its last one, for which this waits, is made shortly after the job's end."""
    deadline = time.monotonic() + SPANS_SECONDS
    while time.monotonic() < deadline:
        spans = read_trace(job_id, [traces(server)])
        if last in {span.name for span in spans}:
            return spans
        time.sleep(0.1)
    raise AssertionError(f"no span {last!r} in {[span.name for span in spans]}")


@pytest.fixture(scope="module")
def made(server: Client) -> Made:
    server.make(caption="warm up", thinking=True, audio_duration=10)
    job_id = server.submit(
        caption=MARKER, lyrics=MARKER, thinking=True, lm_cfg_scale=2.0, batch_size=2, audio_duration=30
    )
    job = server.wait(job_id)
    assert job["status"] == "succeeded"
    spans = spans_of(server, job_id, last="publishing")
    return Made(job_id, job["finished_at"] - job["created_at"], spans, lines_about(job_id, server.logs))


def test_the_parts_of_a_trace_add_up_to_the_latency_of_the_job(
    server: Client, made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", made.job_id, "--spans", str(traces(server))]) == 0
    with capsys.disabled():
        print("\n" + capsys.readouterr().out)
    assert made.seconds > 1.0
    job = job_span(made.spans)
    assert job is not None
    assert job.seconds == pytest.approx(made.seconds, rel=0.01)
    assert explained_seconds(made.spans, job) == pytest.approx(made.seconds, rel=0.05)


def test_a_trace_reaches_into_every_part_of_the_server(made: Made) -> None:
    by_id = {span.span_id: span for span in made.spans}
    paths = set()
    for span in made.spans:
        path = [span]
        while path[-1].parent_id in by_id:
            path.append(by_id[path[-1].parent_id])
        paths.add(" > ".join(f"{step.service}: {step.name}" for step in reversed(path)))
    attempt = "Ingress: submit > JobTracker: job > JobTracker: attempt 1"
    assert paths >= {
        "Ingress: submit > JobTracker: job > JobTracker: waiting",
        f"{attempt} > Ingress: planning > LanguageModel: plan",
        f"{attempt} > Ingress: composing > LanguageModel: compose > LanguageModel: prefill",
        f"{attempt} > Ingress: composing > LanguageModel: compose > LanguageModel: codes",
        f"{attempt} > Ingress: denoising > Generator: denoise > Generator: preparing",
        f"{attempt} > Ingress: denoising > Generator: denoise > Generator: steps",
        f"{attempt} > Ingress: decoding > Codec: decode > Codec: tiles",
        f"{attempt} > Ingress: decoding > Codec: decode > Codec: writing",
        f"{attempt} > Ingress: publishing",
    }


def test_the_lines_about_a_job_are_found_by_its_id_in_every_log(made: Made) -> None:
    events = {part: [line["event"] for line in lines] for part, lines in made.lines.items()}
    assert events == {
        "Ingress": ["accepted", *["stage_done"] * 4],
        "job_tracker": ["claimed", "succeeded"],
        "LanguageModel": ["call_done"] * 3,
        "Generator": ["call_done"],
        "Codec": ["call_done"] * 2,
    }
    accepted = made.lines["Ingress"][0]
    assert accepted["request_id"]
    assert [line["stage"] for line in made.lines["Ingress"][1:]] == [
        "planning",
        "composing",
        "denoising",
        "decoding",
    ]
    succeeded = made.lines["job_tracker"][-1]
    assert succeeded["seconds"] == pytest.approx(made.seconds, abs=0.01)
    assert succeeded["audio_seconds"] == 60.0
    assert {line["call"] for line in made.lines["LanguageModel"]} == {
        "LanguageModel.plan",
        "LanguageModel.compose",
    }


def test_a_cancelled_job_leaves_a_line_where_it_was_cancelled_and_where_it_ran(server: Client) -> None:
    job_id = server.submit(caption=MARKER, thinking=True, batch_size=2, audio_duration=600)
    deadline = time.monotonic() + SPANS_SECONDS
    while server.http.get(f"/v1/jobs/{job_id}").json()["status"] == "queued":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    server.cancel(job_id)
    deadline = time.monotonic() + SPANS_SECONDS
    while time.monotonic() < deadline:
        lines = lines_about(job_id, server.logs)
        events = {line["event"] for part in lines.values() for line in part}
        if events >= {"accepted", "claimed", "cancelled", "lease_lost"}:
            break
        time.sleep(0.1)
    assert events >= {"accepted", "claimed", "cancelled", "lease_lost"}
    (attempt,) = [span for span in read_trace(job_id, [traces(server)]) if span.name == "attempt 1"]
    assert attempt.error is None


@pytest.mark.usefixtures("made")
def test_neither_logs_nor_traces_hold_what_a_user_wrote(server: Client) -> None:
    files = [*server.logs, *traces(server).iterdir(), server.audio_in.parent / "serve.log"]
    assert len(files) > 8
    assert [file.name for file in files if MARKER in file.read_text(errors="replace")] == []
