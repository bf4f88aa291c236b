"""Fair order: the jobs of a client wait for this client's other jobs, and other clients do not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.jobs.model import Client
from serve_app.jobs.queue.fairness import FairClock
from serve_app.request.work import Work
from tests.job_tracking import WORK, Tracking


def claim_all(tracking: Tracking) -> list[str]:
    """Return the clients of the jobs in the order in which they run."""
    order = []
    while claim := tracking.tracker.claim(f"token {len(order)}"):
        order.append(claim.job.client)
        tracking.tracker.finish(claim.job.job_id, claim.token, {}, (), 0)
    return order


def seconds_of(seconds: float) -> Work:
    return WORK.lasting(seconds)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.floats(1, 600), min_size=1, max_size=60),
    others=st.lists(st.integers(1, 12), max_size=4),
    already_run=st.integers(0, 30),
    last=st.floats(1, 600),
)
def test_a_first_job_waits_for_at_most_one_job_of_each_other_client(
    lengths: list[float], others: list[int], already_run: int, last: float
) -> None:
    tracking = Tracking(queue_limit=10_000, client_jobs=10_000)
    for seconds in lengths:
        tracking.submit("with many jobs", work=seconds_of(seconds))
    for other, jobs in enumerate(others):
        for _ in range(jobs):
            tracking.submit(f"other {other}")
    for number in range(min(already_run, len(lengths))):
        tracking.tracker.claim(f"token {number}")
    view = tracking.tracker.view(tracking.submit("new", work=seconds_of(last)))
    assert view is not None
    assert view.queue_position <= 1 + 1 + len(others)


def test_a_client_with_a_thousand_jobs_delays_another_by_one() -> None:
    tracking = Tracking(queue_limit=2000, client_jobs=2000)
    for _ in range(1000):
        tracking.submit("with many jobs")
    tracking.run_next(1)
    view = tracking.tracker.view(tracking.submit("another"))
    assert view is not None
    assert view.queue_position == 1
    behind = tracking.tracker.view(tracking.submit("another"))
    assert behind is not None
    assert behind.queue_position <= 3


def test_waiting_clients_share_by_seconds_of_music() -> None:
    tracking = Tracking()
    for _ in range(12):
        tracking.submit("of long songs", work=seconds_of(30))
    for _ in range(36):
        tracking.submit("of short songs", work=seconds_of(10))
    first = claim_all(tracking)[:24]
    assert 5 <= first.count("of long songs") <= 7


def test_weights_divide_the_server() -> None:
    tracking = Tracking()
    for _ in range(40):
        tracking.submit("heavy", weight=3.0)
        tracking.submit("light")
    first = claim_all(tracking)[:40]
    assert 29 <= first.count("heavy") <= 31


@pytest.mark.parametrize("restart", [False, True])
def test_who_was_away_saves_nothing_up(restart: bool) -> None:
    tracking = Tracking()
    for _ in range(20):
        tracking.submit("busy")
        tracking.run_next(1)
    for _ in range(10):
        tracking.submit("busy")
    if restart:
        tracking.restart()
    for _ in range(10):
        tracking.submit("back again")
    assert claim_all(tracking)[:10].count("busy") in {4, 5, 6}


def test_cancelled_jobs_cost_nothing() -> None:
    tracking = Tracking()
    for job in [tracking.submit("changed its mind") for _ in range(50)]:
        tracking.tracker.cancel(job)
    for _ in range(5):
        tracking.submit("another")
        tracking.submit("changed its mind")
    assert claim_all(tracking)[:6].count("changed its mind") == 3


def test_jobs_of_high_priority_do_not_disturb_the_order_of_the_others() -> None:
    tracking = Tracking()
    for _ in range(20):
        tracking.submit("with many jobs")
    for _ in range(20):
        tracking.submit("important", priority=9)
    for _ in range(20):
        tracking.run_next(1)
    view = tracking.tracker.view(tracking.submit("new"))
    assert view is not None
    assert view.queue_position <= 2


def test_clients_whose_share_is_used_no_more_are_forgotten() -> None:
    clock = FairClock()
    for sequence in range(10_000):
        for name in ("always busy", f"client {sequence}"):
            clock.claimed(name, clock.place(Client(name), 0, WORK, None, sequence))
    assert len(vars(clock)["_finish"]) <= 2000


def test_weights_survive_a_restart() -> None:
    tracking = Tracking()
    for _ in range(20):
        tracking.submit("heavy", weight=3.0)
        tracking.submit("light")
    tracking.restart()
    for _ in range(20):
        tracking.submit("heavy", weight=3.0)
        tracking.submit("light")
    first = claim_all(tracking)[:40]
    assert 29 <= first.count("heavy") <= 31


@pytest.mark.parametrize("restart", [False, True])
def test_a_client_whose_long_song_runs_lets_another_go_first(restart: bool) -> None:
    tracking = Tracking()
    tracking.submit("of long songs", work=seconds_of(600))
    tracking.tracker.claim("token")
    if restart:
        tracking.restart()
    tracking.submit("of long songs", work=seconds_of(600))
    tracking.submit("another")
    assert claim_all(tracking) == ["another", "of long songs"]
