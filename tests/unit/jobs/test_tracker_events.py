"""The tracker reports each event about a job once."""

import pytest

from configs.metrics import Limit
from serve_app.jobs.errors import LimitError
from serve_app.jobs.model import Job
from serve_app.jobs.observer import JobObserver, Load, Outcome
from serve_app.jobs.tracker import JobTracker
from tests.job_tracking import Tracking


class Listener(JobObserver):
    """Records the events."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def submitted(self) -> None:
        self.heard.append(("submitted",))

    def refused(self, limit: Limit) -> None:
        self.heard.append(("refused", limit))

    def claimed(self, job: Job) -> None:
        self.heard.append(("claimed", job.job_id, job.attempt))

    def run_ended(self, job: Job, outcome: Outcome, at: float) -> None:
        self.heard.append(("run ended", job.job_id, job.attempt, outcome))
        assert at >= job.created_at

    def retried(self) -> None:
        self.heard.append(("retried",))

    def ended(self, job: Job) -> None:
        self.heard.append(("ended", job.job_id, job.state.value))


class Observed(Tracking):
    """A tracker and the events that it reports."""

    def start(self) -> None:
        super().start()
        self.listener = Listener()
        self.tracker = JobTracker(self.settings, self.journal, self.clock, self.listener)

    @property
    def heard(self) -> list[tuple[object, ...]]:
        """Return the events since the last call."""
        heard, self.listener.heard = self.listener.heard, []
        return heard


def test_a_job_is_submitted_claimed_and_ended_once_however_often_callers_repeat_themselves() -> None:
    tracking = Observed()
    new = tracking.new_job(job_id="a")
    for _ in range(2):
        tracking.tracker.submit(new)
    assert tracking.heard == [("submitted",)]
    for _ in range(2):
        tracking.tracker.claim("token")
    assert tracking.heard == [("claimed", "a", 1)]
    for _ in range(2):
        assert tracking.tracker.finish("a", "token", {"timings": {}}, ("memory://song",), 1000)
    assert tracking.heard == [("run ended", "a", 1, "succeeded"), ("ended", "a", "succeeded")]


def test_a_restarted_tracker_does_not_tell_of_what_was_before() -> None:
    tracking = Observed()
    tracking.submit(job_id="a")
    tracking.submit(job_id="b")
    tracking.run_next(1.0)
    tracking.restart()
    assert tracking.heard == []
    assert tracking.tracker.load().waiting == 1


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        ({"queue_limit": 1}, "queue_limit"),
        ({"client_jobs": 1}, "client_jobs"),
        ({"client_bytes": 10}, "client_bytes"),
    ],
)
def test_a_refused_submit_names_the_setting_that_refused_it(settings: dict[str, int], limit: str) -> None:
    tracking = Observed(**settings)
    tracking.submit("anna", uploaded_bytes=10)
    with pytest.raises(LimitError) as refused:
        tracking.submit("anna", uploaded_bytes=10)
    assert refused.value.limit == limit
    assert tracking.heard == [("submitted",), ("refused", limit)]


def test_every_failed_attempt_is_told_with_its_kind_and_what_followed() -> None:
    tracking = Observed(max_attempts=3)
    tracking.submit(job_id="a")
    tracking.tracker.claim("first")
    tracking.tracker.fail("a", "first", "Away.", retryable=True, kind="unavailable")
    tracking.tracker.claim("second")
    tracking.clock.now += tracking.settings.lease_seconds
    tracking.tracker.requeue_expired()
    tracking.tracker.claim("third")
    for _ in range(2):
        assert tracking.tracker.fail("a", "third", "No.", retryable=True, kind="unavailable")
    assert tracking.heard == [
        ("submitted",),
        ("claimed", "a", 1),
        ("run ended", "a", 1, "unavailable"),
        ("retried",),
        ("claimed", "a", 2),
        ("run ended", "a", 2, "lost"),
        ("retried",),
        ("claimed", "a", 3),
        ("run ended", "a", 3, "unavailable"),
        ("ended", "a", "failed"),
    ]


def test_a_job_that_cannot_succeed_is_not_retried() -> None:
    tracking = Observed()
    tracking.submit(job_id="a")
    tracking.tracker.claim("token")
    tracking.tracker.fail("a", "token", "Not music.", retryable=False, kind="request")
    assert tracking.heard[2:] == [("run ended", "a", 1, "request"), ("ended", "a", "failed")]


def test_a_job_that_is_handed_back_or_taken_from_its_runner_has_not_failed() -> None:
    tracking = Observed()
    tracking.submit(job_id="a")
    tracking.tracker.claim("first")
    tracking.tracker.release("a", "first")
    tracking.tracker.claim("second")
    tracking.tracker.requeue("a")
    assert tracking.heard[2:] == [
        ("run ended", "a", 1, "handed_back"),
        ("claimed", "a", 1),
        ("run ended", "a", 1, "requeued"),
    ]


def test_cancelling_ends_waiting_and_running_jobs_once() -> None:
    tracking = Observed()
    tracking.submit(job_id="a")
    tracking.submit(job_id="b")
    tracking.tracker.claim("token")
    for job_id in ("a", "b", "a"):
        tracking.tracker.cancel(job_id)
    assert tracking.heard[3:] == [
        ("run ended", "a", 1, "cancelled"),
        ("ended", "a", "cancelled"),
        ("ended", "b", "cancelled"),  # The job never ran.
    ]


def test_the_load_is_what_waits_runs_and_is_stored_now() -> None:
    tracking = Observed()
    assert tracking.tracker.load() == Load(0, 0.0, 0, 0)
    tracking.submit(uploaded_bytes=500)
    tracking.clock.now += 40
    tracking.submit()
    tracking.clock.now += 2
    assert tracking.tracker.load() == Load(2, 42.0, 0, 500)
    tracking.tracker.claim("token")
    assert tracking.tracker.load() == Load(1, 2.0, 1, 500)


def test_a_job_that_waits_again_is_as_old_as_it_is() -> None:
    tracking = Observed()
    tracking.submit(job_id="a")
    tracking.clock.now += 10
    tracking.tracker.claim("token")
    tracking.clock.now += 5
    tracking.tracker.fail("a", "token", "Away.", retryable=True, kind="unavailable")
    assert tracking.tracker.load() == Load(1, 15.0, 0, 0)
    tracking.run_next(1.0)
    assert tracking.tracker.load() == Load(0, 0.0, 0, 1000)
