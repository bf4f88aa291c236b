"""What `benchmarks.readers` makes of its measurements."""

import asyncio
import os
from pathlib import Path

import pytest
from fastapi import FastAPI

from benchmarks.end_to_end.processes import ALL
from benchmarks.plain_http import AnswerError
from benchmarks.readers import generation, polls, waiting
from benchmarks.readers.clients import LONG_POLLS, STREAMS
from benchmarks.readers.generation import NOBODY, Turn
from benchmarks.readers.polls import EMPTY, QUEUED, Polls, answer_times
from benchmarks.readers.server import readers_config
from benchmarks.readers.waiting import Moment, Observed
from configs.settings import Settings
from tests.unit.api.served import served

MIB = 1 << 20


def test_polls_are_compared_with_those_of_the_empty_application() -> None:
    empty = Polls(seconds=2.0, latencies=[0.001] * 400, client_seconds=0.1, tracker_seconds=0.2)
    queued = Polls(seconds=4.0, latencies=[0.005] * 200, client_seconds=0.1, tracker_seconds=1.4)
    nothing, row = polls.rows(32, {EMPTY: empty, QUEUED: queued})
    assert nothing["of the empty one's"] == 1.0
    assert nothing["tracker, s for 1,000"] == 0.0
    assert (row["polls of"], row["clients"], row["a second"]) == (QUEUED, 32, 50.0)
    assert row["of the empty one's"] == 0.25
    assert row["p50 above the empty one's, ms"] == pytest.approx(4.0)
    # 1.4 s, of which 0.4 s would have been taken without polls, for 200 of them.
    assert row["tracker, s for 1,000"] == pytest.approx(5.0)
    assert row["clients, s for 1,000"] == pytest.approx(0.5)


def moment(time: float, seconds: float, mebibytes: int) -> Moment:
    return Moment(time, {"Ingress": seconds}, {"Ingress": mebibytes * MIB})


def test_what_processes_take_without_clients_does_not_count() -> None:
    observed = Observed(
        alone=moment(0.0, 1.0, 90),
        before=moment(10.0, 1.5, 100),
        begun=moment(20.0, 4.0, 130),
        waited=moment(80.0, 13.0, 150),
    )
    (row,) = waiting.rows(STREAMS, 1_000, observed, names=["Ingress"])
    assert row["clients"] == "1000 event streams"
    assert row["each, KiB"] == pytest.approx(50 * 1024 / 1000)
    assert row["to begin, ms of a core each"] == pytest.approx(2.5 - 0.5)
    assert row["waiting, ms of a core each minute"] == pytest.approx(9.0 - 3.0)


def test_processes_that_are_not_there_take_nothing() -> None:
    observed = Observed(moment(0.0, 0.0, 1), moment(1.0, 0.0, 1), moment(2.0, 0.0, 1), moment(3.0, 0.0, 1))
    (row,) = waiting.rows(LONG_POLLS, 10, observed, names=["TrackerProcess"])
    assert row["each, KiB"] == row["to begin, ms of a core each"] == 0.0


def test_the_sum_of_all_processes_is_observed() -> None:
    now = Moment.now(os.getpid())
    assert now.memory[ALL] == sum(size for name, size in now.memory.items() if name != ALL) > 0
    assert now.processor_seconds[ALL] > 0


def test_the_loss_is_that_of_speed() -> None:
    turns = {NOBODY: [Turn(9.0), Turn(11.0)], STREAMS: [Turn(12.5, 800)], LONG_POLLS: [Turn(10.0, 500)]}
    rows = generation.rows(40, 500, turns)
    assert [row["waiting"] for row in rows] == ["nobody", "500 event streams", "500 long polls"]
    assert [row["generation lost, %"] for row in rows] == pytest.approx([0.0, 20.0, 0.0])
    assert [row["news"] for row in rows] == [0, 800, 500]
    assert rows[0]["of each turn"] == "9.0, 11.0"


def test_the_server_refuses_none_of_the_clients(tmp_path: Path) -> None:
    (application,) = readers_config(tmp_path, 5_000)["applications"]
    api = Settings(**application["args"]).api
    assert min(api.open_requests, api.client_requests) >= 5_000
    (ingress,) = (entry for entry in application["deployments"] if entry["name"] == "Ingress")
    assert ingress["max_ongoing_requests"] > api.open_requests


async def test_each_answer_is_timed() -> None:
    app, asked = FastAPI(), []

    @app.get("/large")
    async def large() -> str:
        asked.append(1)
        return "x" * 100_000  # longer than the buffer of a connection

    async with served(app) as url:
        port = int(url.rpartition(":")[2])
        times = await asyncio.to_thread(answer_times, port, "/large", 3, 0.05)
        with pytest.raises(ExceptionGroup) as raised:
            await asyncio.to_thread(answer_times, port, "/unknown", 1, 0.05)
    assert len(times) == len(asked) >= 3
    assert min(times) > 0
    assert raised.group_contains(AnswerError, match="404")
