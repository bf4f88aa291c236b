"""After any kill, everything that a store confirmed is there.

A store that is out of reach raises an error.
"""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from serve_app.jobs.model import JobState
from serve_app.jobs.storing.redis_store import TIMEOUT_SECONDS
from serve_app.jobs.storing.store import StoreError
from serve_app.jobs.storing.stores import open_store
from tests.job_records import a_job
from tests.redis_server import RedisServer
from tests.store_writer import BATCH


def written_until(kill: Callable[[subprocess.Popen[str]], None], location: str) -> int:
    """Return how many batches a process has reported as written when something is killed."""
    command = [sys.executable, "-m", "tests.store_writer", location]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        batches = [int(writer.stdout.readline()) for _ in range(20)]
        kill(writer)
        batches += [int(line) for line in writer.stdout.read().split()]
    assert batches == list(range(len(batches)))
    return len(batches)


def assert_whole(location: str, batches: int) -> None:
    """Assert that all confirmed batches are there, perhaps also the next one, and no part of another."""
    with closing(open_store(location)) as store:
        found = [job.place.sequence for job in store.unsettled_jobs()]
        assert found == list(range(len(found)))
        assert len(found) in {batches * BATCH, (batches + 1) * BATCH}
        assert store.next_sequence() == len(found)
        assert store.counts()[JobState.QUEUED] == len(found)
        store.write({"next": a_job(len(found), job_id="next")})


def test_nothing_that_was_written_is_lost_where_the_writer_is_killed(location: str) -> None:
    batches = written_until(lambda writer: writer.send_signal(signal.SIGKILL), location)
    assert_whole(location, batches)


def test_nothing_that_was_written_is_lost_where_redis_is_killed(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    batches = written_until(lambda _: server.kill(), server.url)
    with pytest.raises(StoreError):
        open_store(server.url)
    server.start()
    assert_whole(server.url, batches)


def test_a_redis_that_is_not_there_is_a_store_error_at_once() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(StoreError, match=f"redis://127.0.0.1:{port}/0: .*refused"):
        open_store(f"redis://user:hidden@127.0.0.1:{port}/0")


def test_a_redis_that_does_not_answer_is_given_up_after_its_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(StoreError, match="Timeout"):
            open_store(f"redis://127.0.0.1:{silent.getsockname()[1]}/0?socket_timeout=0.2")
    assert time.monotonic() - started < TIMEOUT_SECONDS  # Without the option this timeout would apply.


def test_an_option_that_redis_does_not_know_is_a_store_error(redis_server: RedisServer) -> None:
    with pytest.raises(StoreError, match="colour"):
        open_store(f"{redis_server.url}?colour=red")
