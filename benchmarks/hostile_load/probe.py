"""A process that asks one path of a server again and again, and tells how long each answer took.

It is a process of its own, so that the measured time does not contain waiting for the benchmark's threads.
"""

import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.helper_process import helper, when_told_to_end

PAUSE_SECONDS = 0.05
TIMEOUT_SECONDS = 10.0
"""The time that counts for a request without an answer, or with an error for an answer."""

Times = list[tuple[float, float]]
"""When each request began (seconds of the monotonic clock) and how long it took (ms)."""


@contextmanager
def probing(port: int, path: str) -> Iterator[Times]:
    """Ask meanwhile; the times are there after the block."""
    times: Times = []
    with helper("benchmarks.hostile_load.probe", str(port), path) as probe:
        yield times
    times.extend((began, took) for began, took in json.loads(probe.told))


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
    when_told_to_end(over.set)
    print(json.dumps(_ask(int(port), path, over)))


if __name__ == "__main__":
    main()
