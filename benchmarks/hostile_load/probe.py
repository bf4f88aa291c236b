"""A process that asks one path of a server again and again, and tells how long each answer took.

It is a process of its own, so that the measured time does not contain waiting for the benchmark's threads.
"""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PAUSE_SECONDS = 0.05
TIMEOUT_SECONDS = 10.0
"""The time that counts for a request without an answer, or with an error for an answer."""

Times = list[tuple[float, float]]
"""When each request began (seconds of the monotonic clock) and how long it took (ms)."""


@contextmanager
def probing(port: int, path: str) -> Iterator[Times]:
    """Ask meanwhile; the times are there after the block."""
    times: Times = []
    command = [sys.executable, "-m", "benchmarks.hostile_load.probe", str(port), path]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield times
    finally:
        told, _ = process.communicate("")
    times.extend((began, took) for began, took in json.loads(told))


def _ask(port: int, path: str, over: threading.Event) -> Times:
    times: Times = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    while not over.wait(PAUSE_SECONDS):
        began = time.monotonic()
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            took = time.monotonic() - began if answer.status == 200 else TIMEOUT_SECONDS
        except (OSError, http.client.HTTPException):
            connection.close()
            took = TIMEOUT_SECONDS
        times.append((began, 1000 * took))
    return times


def main() -> None:
    """Ask until standard input ends, then print the times as JSON."""
    _, port, path = sys.argv
    over = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    print(json.dumps(_ask(int(port), path, over)))


if __name__ == "__main__":
    main()
