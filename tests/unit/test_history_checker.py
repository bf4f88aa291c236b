"""Each rule of the checker is broken by one history, and kept by the history next to it."""

from dataclasses import replace

import pytest

from tests.history.calls import Call, History, Kind, Outcome, Shown, StoreLost
from tests.history.checker import violations

ALICE, BOB = "10.0.0.1", "10.0.0.2"

QUEUED = Shown("a", "queued", 1, "queued", 0.0)
RUNNING = Shown("a", "running", 0, "denoising", 0.5)
SUCCEEDED = Shown("a", "succeeded", 0, "done", 1.0, 100.0)
CANCELLED = Shown("a", "cancelled", 0, "queued", 0.0, 100.0)
OTHER = replace(QUEUED, job_id="b")


def call(kind: Kind, start: float, *shown: Shown, seconds: float = 1.0, client: str = ALICE) -> Call:
    job_id = "a" if kind in {Kind.POLL, Kind.CANCEL, Kind.PURGE} else None
    return Call(client, kind, start, start + seconds, job_id=job_id, shown=shown)


def submit(start: float, *shown: Shown, key: str | None = "k", seconds: float = 1.0) -> Call:
    outcome = Outcome.ANSWERED if shown else Outcome.UNANSWERED
    accepted = tuple(Shown(job.job_id, job.status, job.queue_position) for job in shown)
    return replace(call(Kind.SUBMIT, start, *accepted, seconds=seconds), key=key, outcome=outcome)


def poll(start: float, shown: Shown, seconds: float = 1.0, client: str = BOB) -> Call:
    return call(Kind.POLL, start, shown, seconds=seconds, client=client)


def missed(start: float, seconds: float = 1.0, kind: Kind = Kind.POLL) -> Call:
    return replace(call(kind, start, seconds=seconds, client=BOB), outcome=Outcome.NOT_FOUND)


def listing(start: float, *shown: Shown, client: str = ALICE) -> Call:
    return call(Kind.LIST, start, *shown, client=client)


def purge(start: float, outcome: Outcome = Outcome.ANSWERED) -> Call:
    return replace(call(Kind.PURGE, start, client=BOB), outcome=outcome)


def cancel(start: float, shown: Shown, outcome: Outcome = Outcome.ANSWERED) -> Call:
    return replace(call(Kind.CANCEL, start, shown), outcome=outcome)


def broken(*calls: Call, losses: tuple[StoreLost, ...] = ()) -> list[str]:
    """Return the names of the broken rules, which do not depend on the order of recording."""
    found = [violation.partition(":")[0] for violation in violations(History([*calls], [*losses]))]
    reverse = [
        violation.partition(":")[0] for violation in violations(History([*reversed(calls)], [*losses]))
    ]
    assert sorted(found) == sorted(reverse)
    return found


def test_a_legal_history_breaks_no_rule() -> None:
    again = replace(RUNNING, status="queued", queue_position=3, stage="queued")
    assert not broken(
        submit(0, seconds=5),
        submit(1, QUEUED),
        submit(2, OTHER, key="other"),
        poll(3, QUEUED),
        listing(4, OTHER, QUEUED),
        listing(4, client=BOB),
        poll(6, RUNNING),
        poll(8, again),
        poll(10, RUNNING),
        poll(11, SUCCEEDED),
        cancel(13, Shown("a", "succeeded"), Outcome.REFUSED),
        submit(15, SUCCEEDED),
        purge(17),
        missed(19),
        missed(19, kind=Kind.PURGE),
        missed(19, kind=Kind.CANCEL),
        listing(21, OTHER),
        submit(23, replace(QUEUED, job_id="c")),
    )


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        pytest.param(SUCCEEDED, RUNNING, id="succeeded, then running"),
        pytest.param(CANCELLED, QUEUED, id="cancelled, then queued"),
    ],
)
def test_reads_of_any_clients_never_go_back(earlier: Shown, later: Shown) -> None:
    later = replace(later, progress=1.0)
    assert broken(poll(0, earlier, client=ALICE), poll(1.5, later)) == ["reads never go back"]
    assert not broken(poll(0, earlier, client=ALICE), poll(0.5, later))
    assert broken(submit(0), poll(0, earlier), listing(1.5, later)) == ["reads never go back"]
    assert broken(poll(0, earlier), submit(1.5, later)) == ["reads never go back"]


def test_progress_never_falls() -> None:
    again = replace(RUNNING, progress=0.4)
    assert broken(poll(0, RUNNING), poll(1.5, again)) == ["progress never falls"]
    assert broken(poll(0, RUNNING), submit(1.5, QUEUED), poll(3, again)) == ["progress never falls"]
    assert not broken(poll(0, RUNNING), poll(0.5, again))
    assert not broken(poll(0, RUNNING), poll(1.5, RUNNING))


def test_jobs_end_once() -> None:
    assert broken(poll(0, CANCELLED), poll(0.5, SUCCEEDED)) == ["jobs end once"]
    assert broken(poll(0, SUCCEEDED), poll(2, replace(SUCCEEDED, finished_at=101.0))) == ["jobs end once"]
    assert not broken(poll(0, SUCCEEDED), submit(2, SUCCEEDED), poll(4, SUCCEEDED))


def test_a_cancelled_job_stays_cancelled() -> None:
    assert broken(cancel(0, CANCELLED), poll(2, SUCCEEDED)) == ["jobs end once"]
    assert broken(cancel(0, CANCELLED), poll(2, RUNNING)) == ["reads never go back"]
    assert not broken(cancel(0, CANCELLED), poll(2, CANCELLED), cancel(4, CANCELLED))


def test_only_a_job_that_ended_otherwise_is_not_cancelled() -> None:
    rule = ["only a job that ended otherwise is not cancelled"]
    assert broken(cancel(0, RUNNING)) == rule
    assert broken(cancel(0, SUCCEEDED)) == rule
    assert broken(cancel(0, CANCELLED, Outcome.REFUSED)) == rule
    assert not broken(cancel(0, Shown("a", "failed"), Outcome.REFUSED))


def test_an_accepted_job_is_known_to_all_later_calls() -> None:
    assert broken(submit(0, QUEUED), missed(1.5)) == ["an accepted job is known"]
    assert broken(submit(0, QUEUED), missed(1.5, kind=Kind.CANCEL)) == ["an accepted job is known"]
    assert broken(submit(0, QUEUED), listing(1.5)) == ["an accepted job is known"]
    assert not broken(submit(0, QUEUED), missed(0.5), listing(0.5), listing(1.5, client=BOB))


def test_a_job_that_only_a_list_or_a_poll_showed_is_known() -> None:
    assert broken(submit(0), listing(1, QUEUED), missed(2.5)) == ["an accepted job is known"]
    assert broken(poll(1, QUEUED), missed(2.5)) == ["an accepted job is known"]
    assert not broken(submit(0), listing(0), listing(2, QUEUED))


def test_a_purge_that_may_have_taken_effect_excuses_later_calls_alone() -> None:
    for purged in (purge(2), purge(2, Outcome.UNANSWERED)):
        assert not broken(submit(0, QUEUED), purged, missed(2.5), listing(9))
        assert broken(submit(0, QUEUED), purged, missed(1.2, seconds=0.5)) == ["an accepted job is known"]


def test_a_purged_job_never_comes_back() -> None:
    back = ["a deleted job stays unknown"]
    assert broken(submit(0, QUEUED), purge(2), poll(4, CANCELLED)) == back
    assert broken(submit(0, QUEUED), purge(2), listing(4, CANCELLED)) == back
    assert broken(submit(0, QUEUED), purge(2), submit(4, CANCELLED)) == back
    assert not broken(submit(0, QUEUED), purge(2), poll(2.5, CANCELLED))


def test_a_purge_without_an_answer_may_take_effect_late_but_only_once() -> None:
    unanswered = purge(2, Outcome.UNANSWERED)
    assert not broken(submit(0, QUEUED), unanswered, poll(8, QUEUED), missed(10))
    assert broken(submit(0, QUEUED), unanswered, missed(8), poll(10, CANCELLED)) == [
        "a deleted job stays unknown"
    ]


def test_one_key_of_one_client_has_one_job() -> None:
    rule = ["one job for each idempotency key"]
    assert broken(submit(0, QUEUED), submit(0.5, OTHER)) == rule
    assert broken(submit(0, QUEUED), submit(2, OTHER)) == rule
    assert broken(submit(0, QUEUED), submit(2, OTHER), purge(4)) == rule
    assert not broken(submit(0, QUEUED), purge(2), submit(4, OTHER))
    assert not broken(submit(0, QUEUED), replace(submit(0, OTHER), client=BOB))
    assert not broken(submit(0, QUEUED, key=None), submit(2, OTHER, key=None))


def test_every_job_was_asked_for() -> None:
    rule = ["every job was asked for"]
    assert broken(listing(2, QUEUED)) == rule
    assert broken(submit(0), submit(1), listing(2, QUEUED, OTHER)) == rule
    assert broken(submit(0), submit(2, QUEUED), listing(4, QUEUED, OTHER)) == rule
    assert not broken(submit(0), listing(2, QUEUED))
    assert not broken(submit(0, key=None), submit(0, key=None), listing(2, QUEUED, OTHER))
    assert not broken(submit(0), submit(2, QUEUED), purge(4), listing(6, OTHER))


def test_a_list_shows_the_clients_own_jobs_once() -> None:
    foreign = listing(2, QUEUED, client=BOB)
    assert "a list shows the client's own jobs" in broken(submit(0, QUEUED), foreign)
    assert broken(submit(0, QUEUED), listing(2, QUEUED, QUEUED)) == ["a list shows each job once"]


def test_queued_jobs_have_a_position() -> None:
    rule = ["queued jobs have a position"]
    assert broken(submit(0, replace(QUEUED, queue_position=0))) == rule
    assert broken(poll(0, replace(RUNNING, queue_position=1))) == rule


def test_the_stage_fits_the_status() -> None:
    assert broken(poll(0, replace(RUNNING, stage="queued"))) == ["the stage fits the status"]
    assert broken(poll(0, replace(SUCCEEDED, stage="encoding"))) == ["the stage fits the status"]
    assert not broken(poll(0, replace(CANCELLED, stage="denoising")))


LOST = StoreLost(10.0, 20.0)


def test_a_lost_store_excuses_jobs_of_before_and_none_that_it_was_given_afterwards() -> None:
    assert not broken(submit(0, QUEUED), missed(21), submit(23, OTHER), losses=(LOST,))
    assert not broken(submit(0, QUEUED), listing(21), losses=(LOST,))
    assert broken(submit(0, QUEUED), missed(8), losses=(LOST,)) == ["an accepted job is known"]
    assert broken(submit(21, QUEUED), missed(23), losses=(LOST,)) == ["an accepted job is known"]
    assert broken(submit(0, QUEUED), submit(21, QUEUED), missed(23), losses=(LOST,)) == [
        "an accepted job is known"
    ]


def test_what_a_lost_store_had_may_come_back_only_until_the_server_has_noticed() -> None:
    assert not broken(submit(0, QUEUED), missed(12), poll(14, QUEUED), missed(21), losses=(LOST,))
    assert broken(submit(0, QUEUED), missed(21), poll(23, QUEUED), losses=(LOST,)) == [
        "a deleted job stays unknown"
    ]
    assert broken(submit(0, QUEUED), purge(2), poll(14, CANCELLED), losses=(LOST,)) == [
        "a deleted job stays unknown"
    ]
