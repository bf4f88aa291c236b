"""Server-Sent Events, cancelling and signed songs over HTTP, through Serve's proxy."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil

from tests.live_server import Client

STREAMS = 20
LET_GO_SECONDS = 20.0
"""A wait for a change of a job that nobody follows any more ends within 15 s."""


def events(client: Client, job_id: str, last_event_id: str | None = None) -> Iterator[dict[str, Any]]:
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    with client.http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        event: dict[str, Any] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                event[name] = json.loads(value) if name == "data" else value
            elif event.get("data"):
                yield event
                event = {}


def test_a_job_is_followed_to_its_song(server: Client) -> None:
    job_id = server.submit(audio_duration=2, batch_size=1, thinking=True, bpm=100)
    seen = list(events(server, job_id))
    assert [event["event"] for event in seen][-1] == "succeeded"
    progress = [event["data"]["progress"] for event in seen]
    assert progress == sorted(progress)
    assert "denoising" in {event["data"]["stage"] for event in seen}
    assert len({event["id"] for event in seen}) == len(seen)
    job = server.http.get(f"/v1/jobs/{job_id}").json()
    assert seen[-1]["data"] == job
    assert server.audio(job["result"]["first_audio_path"])


def test_a_stream_that_broke_goes_on_where_it_was(server: Client) -> None:
    job_id = server.submit(audio_duration=10, batch_size=2, thinking=True)
    first = next(stream := events(server, job_id))
    stream.close()
    rest = list(events(server, job_id, first["id"]))
    assert first["id"] not in {event["id"] for event in rest}
    assert rest[-1]["event"] == "succeeded"
    ended = server.http.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": rest[-1]["id"]})
    assert ended.status_code == httpx.codes.NO_CONTENT


def test_the_queue_moves_and_cancelling_ends_a_stream(server: Client) -> None:
    jobs = [server.submit(audio_duration=10, batch_size=2) for _ in range(6)]
    last = events(server, jobs[-1])
    position = next(last)["data"]["queue_position"]
    assert server.cancel(jobs[-2])["status"] == "cancelled"
    assert next(last)["data"]["queue_position"] < position
    for job_id in jobs:
        server.cancel(job_id)
    assert [*last][-1]["event"] == "cancelled"


def test_clients_that_leave_free_what_they_held(server: Client) -> None:
    """No stream leaves a connection. Processes of Ray that meet for the first time connect and stay so."""
    jobs = [server.submit(audio_duration=20, batch_size=8) for _ in range(3)]
    server.http.get("/v1/stats")
    most = open_connections(server) + STREAMS // 2
    for job_id in jobs * (STREAMS // len(jobs)):
        with httpx.Client(base_url=server.http.base_url, timeout=30) as http:
            next(events(Client(http, server.audio_in, server.pid), job_id))
    for job_id in jobs:
        server.cancel(job_id)
    deadline = time.monotonic() + LET_GO_SECONDS
    while (after := open_connections(server)) > most and time.monotonic() < deadline:
        time.sleep(0.5)
    assert after <= most
    server.make(audio_duration=1, batch_size=1)


def open_connections(server: Client) -> int:
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    count = 0
    for process in family:
        try:
            count += sum(found.status == psutil.CONN_ESTABLISHED for found in process.net_connections("tcp"))
        except psutil.NoSuchProcess:
            continue
    return count


def test_who_leaves_takes_nobodys_news_along(server: Client) -> None:
    """Clients of one replica share their questions to the tracker.

    Ray ends what a request began when its client leaves.
    """
    job_id = server.submit(audio_duration=20, batch_size=1, thinking=True)
    with httpx.Client(base_url=server.http.base_url, timeout=30) as http:
        leaving = events(Client(http, server.audio_in, server.pid), job_id)
        next(leaving)
        staying = events(server, job_id)
        seen = [next(staying)]
        leaving.close()
    seen += staying
    assert seen[-1]["event"] == "succeeded"
