"""Real connections that break, and a server that refuses an upload before it has read it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from acestep_client import AsyncClient, BusyError, Client, Retries
from tests.unit.client.answers import QUEUED, SUBMITTED, SUCCEEDED
from tests.unit.client.conftest import done, listed

QUICK = Retries(patience_seconds=30, first_pause_seconds=0.01, longest_pause_seconds=0.05)
LARGE = 8_000_000
"""Bytes: more than the buffers of a connection hold."""
SONG = bytes(range(256)) * 4000


class Shaky(BaseHTTPRequestHandler):
    """A server that breaks the first connection of each request off, at different places."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[dict[str, int]] = {}

    def log_message(self, *_arguments: Any) -> None:
        pass

    def _count(self) -> int:
        self.seen[self.path] = self.seen.get(self.path, 0) + 1
        self.close_connection = True
        return self.seen[self.path]

    def _answer(self, body: bytes, kind: str = "application/json", status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        count = self._count()
        if count == 1:
            return  # no answer at all, while the body is on its way
        if count == 2:
            self._answer(json.dumps({"detail": "The queue is full"}).encode(), status=429, retry_after="0")
            return  # nothing of the body was read
        body = self.rfile.read(int(self.headers["content-length"]))
        assert body.count(b"R" * LARGE) == 1
        self._answer(json.dumps(SUBMITTED).encode())

    def do_GET(self) -> None:
        count = self._count()
        if self.path.endswith("/events"):
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            known = self.headers.get("last-event-id")
            job = QUEUED if known is None else SUCCEEDED
            number = 1 if known is None else 2
            event = f"id: {number}\nevent: {job['status']}\ndata: {json.dumps(job)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))  # and no last chunk
        elif self.path.startswith("/v1/audio/"):
            begin = int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if begin else 200)
            self.send_header("etag", '"v1"')
            self.send_header("content-length", str(len(SONG) - begin))
            self.end_headers()
            self.wfile.write(SONG[begin : len(SONG) // 2] if count == 1 else SONG[begin:])
        elif count > 1:
            self._answer(json.dumps(SUCCEEDED).encode())


@pytest.fixture
def url() -> Iterator[str]:
    Shaky.seen.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shaky)
    server.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("kind", [Client, AsyncClient])
async def test_everything_is_done_in_the_end(url: str, kind: Any, tmp_path: Path) -> None:
    recording = tmp_path / "recording.wav"
    recording.write_bytes(b"R" * LARGE)
    client = kind(url, retries=QUICK)
    job = await done(client.cover(recording, "louder"))
    assert [event.status for event in await listed(job.events())] == ["queued", "succeeded"]
    assert (await done(job.wait())).bpm == 90
    song = await done(job.songs[0].save(tmp_path))
    assert song.read_bytes() == SONG
    counts = {path.split("?")[0].rpartition("/")[2]: count for path, count in Shaky.seen.items()}
    assert counts == {"generate": 3, "events": 2, "job-1": 2, "0.mp3": 2}


def test_a_refusal_is_read_although_the_upload_was_not(url: str) -> None:
    client = Client(url, retries=Retries(0))
    Shaky.seen["/v1/music/generate"] = 1
    with pytest.raises(BusyError, match="The queue is full"):
        client.cover(b"R" * LARGE)
