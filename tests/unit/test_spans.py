"""Spans of a process, and where they are sent."""

import gzip
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from configs.settings import PROJECT_ROOT, TracingSettings
from deployments.common.job_calls import JobCalls
from deployments.common.messages import Origin
from deployments.common.tracing import NO_SPANS, child_of, span_recorder
from tests.spans import KeptSpans, context_of, is_child, seconds

TRACE = "0af7651916cd43dd8448eb211c80319c"
ORIGIN = Origin("a job", f"00-{TRACE}-b7ad6b7169203331-01")
UNTRACED = Origin("a job")


def test_what_is_asked_inside_a_span_hangs_under_it() -> None:
    spans = KeptSpans()
    with spans.recorder.span("outer", ORIGIN) as outer, spans.recorder.span("inner", outer) as inner:
        assert outer.job_id == inner.job_id == ORIGIN.job_id
    assert is_child(spans.named("inner"), spans.named("outer"))
    assert context_of(spans.named("outer")) == outer.traceparent
    assert f"{spans.named('outer').parent.span_id:016x}" == "b7ad6b7169203331"


def test_a_block_that_raises_is_told_by_the_type_of_its_error_alone() -> None:
    spans = KeptSpans()
    with pytest.raises(KeyError), spans.recorder.span("work", ORIGIN):
        raise KeyError("somebody's lyrics")
    assert spans.named("work").attributes["error.type"] == "KeyError"
    assert "lyrics" not in spans.named("work").to_json()


@pytest.mark.parametrize("recorder", [KeptSpans().recorder, NO_SPANS], ids=["on", "off"])
def test_a_job_that_is_not_traced_passes_through(recorder: object) -> None:
    with recorder.span("work", UNTRACED) as origin:
        assert origin is UNTRACED
    assert child_of(None) is None


def test_an_unsampled_context_makes_no_spans() -> None:
    spans = KeptSpans()
    with spans.recorder.span("work", Origin("a job", f"00-{TRACE}-b7ad6b7169203331-00")):
        pass
    assert spans.all == []


def test_nothing_of_opentelemetry_is_imported_while_traces_are_off() -> None:
    code = (
        "import sys; from configs.settings import TracingSettings\n"
        "from deployments.common.tracing import span_recorder\n"
        "from deployments.common.messages import Origin\n"
        "with span_recorder(TracingSettings(), 'x').span('work', Origin()): pass\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, check=False).returncode == 0


def test_the_phases_of_a_call_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = KeptSpans("Generator")
    monkeypatch.setattr(
        "deployments.common.job_calls.span_recorder", lambda _settings, _service: spans.recorder
    )
    with JobCalls(TracingSettings(), "Generator").call("denoise", ORIGIN, "preparing") as enter:
        time.sleep(0.02)
        for _ in range(3):
            enter("steps")
            time.sleep(0.01)
    call, preparing, steps = (spans.named(name) for name in ("denoise", "preparing", "steps"))
    assert preparing.end_time == steps.start_time
    assert is_child(preparing, call)
    assert is_child(steps, call)
    assert seconds(steps) >= 0.03
    assert seconds(call) == pytest.approx(seconds(preparing) + seconds(steps), abs=0.005)


def test_the_file_exporter_writes_a_line_per_span_at_once(tmp_path: Path) -> None:
    recorder = span_recorder(TracingSettings(exporter="file", folder=tmp_path / "traces"), "Codec")
    recorder.record("decode", ORIGIN.traceparent, None, 1_700_000_000.0, 1_700_000_001.5, {"item": 1})
    (file,) = (tmp_path / "traces").iterdir()
    (line,) = file.read_text().splitlines()
    span = json.loads(line)
    assert file.name.startswith("Codec-")
    assert span["context"]["trace_id"] == f"0x{TRACE}"
    assert (span["start_time"], span["end_time"]) == (
        "2023-11-14T22:13:20.000000Z",
        "2023-11-14T22:13:21.500000Z",
    )
    assert span["resource"]["attributes"]["service.name"] == "Codec"


class Collector(HTTPServer):
    """Receives OTLP over HTTP."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        super().__init__(("127.0.0.1", 0), _CollectorHandler)


class _CollectorHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_collector_gets_the_spans(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    recorder = span_recorder(TracingSettings(exporter="otlp"), "Generator")
    link = f"00-{'1' * 32}-{'2' * 16}-01"
    recorder.record("denoise", child_of(ORIGIN.traceparent), ORIGIN.traceparent, 1.0, 2.5, link=link)
    recorder.close()
    ((resource,),) = [request.resource_spans for request in collector.requests]
    said = {entry.key: entry.value.string_value for entry in resource.resource.attributes}
    (span,) = resource.scope_spans[0].spans
    assert (said["service.namespace"], said["service.name"]) == ("acestep", "Generator")
    assert said["deployment.environment"] == "test"
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == "b7ad6b7169203331"
    assert (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9 == 1.5
    assert span.links[0].trace_id.hex() == "1" * 32


def test_a_missing_exporter_package_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(RuntimeError, match=r"acestep-serve\[tracing\]"):
        span_recorder(TracingSettings(exporter="otlp"), "Generator")
