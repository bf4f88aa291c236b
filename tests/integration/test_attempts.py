"""Attempts to reach other users' data or to harm the server, each with the answer that it must get."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import httpx
import psutil
import pytest

from tests.audio import write_recording
from tests.hostile_audio import hostile_files
from tests.live_server import BODY_TIMEOUT_SECONDS, GuardedServer

GENERATE = "/v1/music/generate"
MEMORY_GROWTH_BYTES = 100_000_000
MARKER = "a-secret-of-alice"


@dataclass(frozen=True)
class Attempt:
    """One attempt. `got` is the status that it must get."""

    what: str
    got: int
    make: Callable[[], httpx.Response]


@pytest.fixture(scope="module")
def alices_song(guarded: GuardedServer) -> str:
    """Return the signed URL of a song of Alice's."""
    return guarded.alice.make(caption=MARKER, audio_duration=1, batch_size=1)["first_audio_path"]


def as_source(server: GuardedServer, path: str) -> httpx.Response:
    return server.bob.http.post(GENERATE, json={"task_type": "cover", "src_audio_path": path})


PATIENCE_SECONDS = 60.0
"""Seconds after which an attempt that is still not answered has found a way to stop the server."""


def attempts(server: GuardedServer, song: str) -> Iterator[Attempt]:
    bob, nobody = server.bob.http, server.anonymous
    path, _, token = song.partition("?token=")
    job_id = path.split("/")[3]
    expiry, _, signature = token.partition(".")
    folder = server.alice.audio_in
    secret = write_recording(server.folder / "secret.wav", 1.0)
    for name, target in (("link.wav", secret), ("folder", server.folder), ("loop.wav", folder / "loop.wav")):
        (folder / name).symlink_to(target)

    sources = {
        "a file outside the audio folders": str(secret),
        "a file outside that is not there": str(server.folder / "nothing.wav"),
        "../ out of the folder": f"{folder}/../secret.wav",
        "/./ and // in the path": f"{folder}/.//../secret.wav",
        "a link from inside to outside": str(folder / "link.wav"),
        "a file behind a linked folder": str(folder / "folder" / "secret.wav"),
        "a circle of links": str(folder / "loop.wav"),
        "the folder itself": str(folder),
        "a device": "/dev/zero",
        "a file of the kernel": "/proc/self/environ",
        "a file URL": secret.as_uri(),
        "another's song as a source": path,
        "another's song and its token as a source": song,
        "a path inside a song's URL": f"/v1/audio/{job_id}/../{job_id}/0.mp3",
        "the server's own storage": str(server.folder / "output" / job_id),
        "the server's keys": str(server.folder / "keys.yaml"),
    }
    for what, source in sources.items():
        yield Attempt(f"source: {what}", 422, lambda source=source: as_source(server, source))

    yield Attempt("no key", 401, lambda: nobody.get(f"/v1/jobs/{job_id}"))
    yield Attempt("no key: the list", 401, lambda: nobody.get("/v1/jobs"))
    yield Attempt("no key: statistics", 401, lambda: nobody.get("/v1/stats"))
    wrong = {"Authorization": "Bearer acestep-guess"}
    yield Attempt("a guessed key", 401, lambda: nobody.get(f"/v1/jobs/{job_id}", headers=wrong))
    yield Attempt("another's job", 404, lambda: bob.get(f"/v1/jobs/{job_id}"))
    yield Attempt("another's job, waiting", 404, lambda: bob.get(f"/v1/jobs/{job_id}?wait=1"))
    yield Attempt("another's events", 404, lambda: bob.get(f"/v1/jobs/{job_id}/events"))
    yield Attempt("cancelling another's job", 404, lambda: bob.delete(f"/v1/jobs/{job_id}"))
    yield Attempt("another's song", 404, lambda: bob.get(path))

    tokens = {
        "without a token": "",
        "an empty token": "?token=",
        "a later expiry": f"?token={int(expiry) + 3600}.{signature}",
        "a made-up signature": f"?token={expiry}.{'A' * len(signature)}",
        "an expired token": f"?token=1000000000.{signature}",
        "a token with a tail": f"?token={token}0",
    }
    for what, query in tokens.items():
        yield Attempt(f"song: {what}", 401, lambda query=query: nobody.get(path + query))
    other = path.replace("0.mp3", "1.mp3")
    yield Attempt("song: the token of another file", 401, lambda: nobody.get(f"{other}?token={token}"))
    yield Attempt("song: ../ in the URL", 404, lambda: bob.get("/v1/audio/%2e%2e%2fkeys.yaml/0.mp3"))
    yield Attempt("song: a file of the server", 404, lambda: bob.get("/v1/audio/..%2f..%2fetc/passwd.mp3"))

    for case in hostile_files():
        if case.says:
            yield Attempt(
                f"upload: {case.name}",
                422,
                lambda case=case: bob.post(GENERATE, files={"src_audio": case.content}),
            )
    yield Attempt("upload: 1 byte every 0.2 s", 408, lambda: slow_upload(server))
    metadata = {"callback_url": "http://169.254.169.254/latest/meta-data/"}
    yield Attempt("callback to a cloud's metadata", 422, lambda: bob.post(GENERATE, json=metadata))
    yield Attempt("priority without permission", 422, lambda: bob.post(GENERATE, json={"priority": 9}))


def slow_upload(server: GuardedServer) -> httpx.Response:
    """Send a body slowly.

    The answer is read off the socket, because clients send everything before they listen.
    """
    url = server.bob.http.base_url
    head = (
        f"POST {GENERATE} HTTP/1.1\r\nHost: {url.host}\r\nContent-Type: application/json\r\n"
        f"Authorization: {server.bob.http.headers['Authorization']}\r\nContent-Length: 1000\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port or 80), timeout=0.2) as connection:
        connection.sendall(head.encode())
        answer, deadline = b"", time.monotonic() + 5 * BODY_TIMEOUT_SECONDS
        while b"\r\n" not in answer and time.monotonic() < deadline:
            try:
                connection.sendall(b" ")
                answer += connection.recv(4_096)
            except TimeoutError:
                continue
        return httpx.Response(int(answer.split()[1]), content=answer)


def memory(server: GuardedServer) -> dict[int, int]:
    """Return the bytes of each process of the server."""
    root = psutil.Process(server.bob.pid)
    found = {}
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            found[process.pid] = process.memory_info().rss
    return found


def test_what_each_attempt_got(guarded: GuardedServer, alices_song: str) -> None:
    as_source(guarded, "/nothing.wav")
    before = memory(guarded)
    stored = guarded.stored
    rows, wrong = [], []
    for attempt in attempts(guarded, alices_song):
        started = time.monotonic()
        answer = attempt.make()
        seconds = time.monotonic() - started
        detail = answer.text.replace("\n", " ")
        rows.append(f"{attempt.what:<48} {answer.status_code}  {seconds:5.2f} s")
        if (
            answer.status_code != attempt.got
            or seconds > PATIENCE_SECONDS
            or MARKER in detail
            or str(guarded.folder) in detail
        ):
            wrong.append(f"{rows[-1]}: wanted {attempt.got}; {detail[:200]}")
    growth = sum(size - before[pid] for pid, size in memory(guarded).items() if pid in before)
    print("", *rows, f"memory of all processes: {growth / 1e6:+.0f} MB", sep="\n")
    assert wrong == []
    assert growth < MEMORY_GROWTH_BYTES
    assert guarded.stored <= stored
    assert MARKER not in guarded.log
    assert alices_song.partition("=")[2] not in guarded.log
