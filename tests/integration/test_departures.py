"""Clients that disconnect in the middle of a request cause no errors."""

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx

from tests.live_server import Client
from tests.server_logs import tracebacks_in, written_since

CLIENTS = 4
"""Number of clients that leave in each kind of way."""


def connection(http: httpx.Client) -> socket.socket:
    return socket.create_connection((http.base_url.host, http.base_url.port), timeout=30)


def leave_after(http: httpx.Client, request: bytes, answer_bytes: int = 0) -> None:
    """Send the beginning of a request, read some of the answer, and disconnect abruptly."""
    with connection(http) as client:
        client.sendall(request)
        received = 0
        while received < answer_bytes and (data := client.recv(4_096)):
            received += len(data)
        # With this option the connection is reset when it is closed.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def headers(http: httpx.Client, start: str, **others: str) -> bytes:
    lines = [start, f"Host: {http.base_url.host}", *(f"{name}: {value}" for name, value in others.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def departures(client: Client, job_id: str, song: str) -> Iterator[tuple[bytes, int]]:
    """Yield the beginnings of requests, and how many bytes of each answer are read."""
    http = client.http
    upload = headers(
        http,
        "POST /v1/music/generate HTTP/1.1",
        **{"Content-Type": "multipart/form-data; boundary=cut", "Content-Length": "50000000"},
    )
    part = b'--cut\r\nContent-Disposition: form-data; name="src_audio"; filename="a.wav"\r\n\r\n'
    as_json = headers(
        http,
        "POST /v1/music/generate HTTP/1.1",
        **{"Content-Type": "application/json", "Content-Length": "5000"},
    )
    yield headers(http, f"GET /v1/jobs/{job_id}/events HTTP/1.1"), 200
    yield headers(http, f"GET /v1/jobs/{job_id}/events HTTP/1.1"), 0
    yield headers(http, f"GET /v1/jobs/{job_id}?wait=60 HTTP/1.1"), 0
    yield upload + part + b"\0" * 3_000_000, 0
    yield upload + part, 0
    yield upload, 0
    yield as_json + b'{"caption": "', 0
    yield headers(http, f"GET {song} HTTP/1.1"), 1
    yield headers(http, f"GET {song} HTTP/1.1"), 20_000
    yield headers(http, f"GET {song} HTTP/1.1"), 0


def departures_of_ace_step_clients(client: Client, song: str) -> Iterator[tuple[bytes, int]]:
    """The same for the ACE-Step API, where a client that leaves a chat cancels its song."""
    http = client.http

    def post(path: str, body: dict[str, Any], sent: float = 1.0) -> bytes:
        data = json.dumps(body).encode()
        fields = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        return headers(http, f"POST {path} HTTP/1.1", **fields) + data[: round(sent * len(data))]

    chat = {"messages": [{"role": "user", "content": "a song"}], "audio_config": {"duration": 20}}
    yield post("/v1/chat/completions", chat), 0
    yield post("/v1/chat/completions", chat, sent=0.5), 0
    yield post("/v1/chat/completions", {**chat, "stream": True}), 0
    yield post("/v1/chat/completions", {**chat, "stream": True}), 400
    yield post("/v1/chat/completions", {**chat, "stream": True, "thinking": True, "batch_size": 4}), 400
    yield post("/format_input", {"prompt": "a song", "lyrics": "la la"}), 0
    yield post("/v1/create_sample", {"query": "a song"}), 0
    yield post("/release_task", {"prompt": "a song"}, sent=0.5), 0
    yield post("/query_result", {"task_id_list": ["a"] * 900}), 0
    job_id, _, file = song.removeprefix("/v1/audio/").partition("/")
    yield headers(http, f"GET /v1/audio?path=/tmp/acestep-serve/{job_id}/{file} HTTP/1.1"), 1


def test_who_leaves_is_no_error(server: Client) -> None:
    song = server.make(audio_duration=2, batch_size=1, audio_format="wav")["first_audio_path"]
    job_id = server.submit(audio_duration=20, batch_size=8)
    before = {log: log.stat().st_size for log in server.logs}
    kinds = [*departures(server, job_id, song), *departures_of_ace_step_clients(server, song)]
    threads = [threading.Thread(target=leave_after, args=(server.http, *kind)) for kind in kinds * CLIENTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.cancel_all()
    server.make(audio_duration=1, batch_size=1)
    told = written_since(before, server.logs)
    entries = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    assert any("/v1/jobs" in entry["message"] for entry in entries)
    assert [entry for entry in entries if entry["levelname"] not in {"DEBUG", "INFO"}] == []
    assert tracebacks_in(told) == ""
