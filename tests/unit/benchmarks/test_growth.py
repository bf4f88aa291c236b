import asyncio
import time
from pathlib import Path

import pytest

from benchmarks.growth import calls, polls
from benchmarks.growth.processes import LoopThread, Wire
from benchmarks.growth.samples import new_jobs, settings
from serve_app.jobs.durable_tracker import DurableTracker


def test_a_whole_core_is_what_the_tracker_took() -> None:
    measured = calls.Measured(calls=1_000, seconds=4.0, tracker=0.5, ingresses=2.0)
    assert calls.row(3, "submit", measured) == {
        "ingresses": 3,
        "kind": "submit",
        "calls a second": 250.0,
        "tracker, µs a call": 500.0,
        "tracker, % of a core": 12.5,
        "calls a second of a whole core": 2_000.0,
        "ingresses, µs a call": 2_000.0,
    }


def test_polls_are_counted_by_who_answers_them() -> None:
    measured = polls.Polled(seconds=20.0, polls=4_000, asked=200, tracker=3.0, readers=6.0)
    assert polls.row("1 reader", measured) == {
        "answered by": "1 reader",
        "polls a second": 200.0,
        "tracker, % of a core": 15.0,
        "asked the tracker, %": 5.0,
        "tracker, µs a poll": 750.0,
        "readers, % of a core": 30.0,
        "readers, µs a poll": 1_500.0,
    }


def test_jobs_without_polls_have_no_cost_of_a_poll() -> None:
    measured = polls.Polled(seconds=20.0, polls=0, asked=0, tracker=3.0, readers=0.0)
    assert polls.row("nobody", measured) == {
        "answered by": "nobody",
        "polls a second": 0.0,
        "tracker, % of a core": 15.0,
    }


def test_jobs_of_two_groups_differ() -> None:
    first, second = new_jobs(1), new_jobs(2)
    assert len({next(jobs).job_id for jobs in (first, second, first, second)}) == 4


def spend(seconds: float) -> None:
    """Use the processor for some time."""
    ends_at = time.thread_time() + seconds
    while time.thread_time() < ends_at:
        pass


async def test_a_turn_lasts_until_the_loop_looks_for_events_again() -> None:
    thread = LoopThread()

    async def work() -> None:
        spend(0.05)
        await asyncio.sleep(0)
        spend(0.02)

    before = thread.processor_seconds
    await thread.ask(work())
    await thread.ask(asyncio.sleep(0))
    assert thread.processor_seconds - before >= 0.07
    longest = thread.longest_turn()
    assert longest >= 0.05
    await thread.ask(asyncio.sleep(0))
    await thread.ask(asyncio.sleep(0))
    assert thread.longest_turn() < longest
    thread.stop()


async def test_a_wire_carries_answers_and_errors(tmp_path: Path) -> None:
    home = LoopThread()
    tracker = DurableTracker(settings(tmp_path, "memory"))
    wire = Wire(tracker, home)
    new = next(new_jobs(0))
    accepted = await wire.client.submit(new)
    assert (accepted.job_id, accepted.queue_position) == (new.job_id, 1)
    assert len(wire.sizes["submit"]) == 1
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        await wire.client.finish(new.job_id, "token", {"seconds": object()}, (), 0)
    home.run(tracker.close())
    home.stop()
