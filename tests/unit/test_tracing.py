"""The trace of one job: its ids, its sampling, and the tracker's part of it."""

import uuid

import pytest

from configs.settings import TracingSettings
from serve_app.jobs.model import Claim
from serve_app.jobs.storing.journal import Journal
from serve_app.jobs.tracing import JobSpans, attempt_origin, client_context, submit_context
from serve_app.jobs.tracker import JobTracker
from tests.job_tracking import Tracking
from tests.spans import KeptSpans, context_of, is_child, seconds

ON = TracingSettings(exporter="file")


class Traced(Tracking):
    """A tracker whose spans are kept."""

    def __init__(self, **settings: object) -> None:
        self.spans = KeptSpans("JobTracker")
        super().__init__(**settings)

    def start(self) -> None:
        self.journal = Journal(self.store)
        observer = JobSpans(self.spans.recorder)
        self.tracker = JobTracker(self.settings, self.journal, self.clock, observer)

    def submit_traced(self) -> str:
        job_id = str(uuid.uuid4())
        return self.submit(job_id=job_id, traceparent=submit_context(job_id, ON))

    def claim(self) -> Claim:
        claim = self.tracker.claim(uuid.uuid4().hex)
        assert claim is not None
        return claim

    def finish(self, claim: Claim) -> None:
        assert self.tracker.finish(claim.job.job_id, claim.token, {}, ("memory://song",), 1)


def test_the_trace_of_a_job_has_the_id_of_the_job() -> None:
    job_id = str(uuid.uuid4())
    context = submit_context(job_id, ON)
    assert context is not None
    assert context.split("-")[1] == job_id.replace("-", "")
    assert client_context(context) == context  # The server accepts the contexts that it makes.


@pytest.mark.parametrize(("ratio", "expected"), [(0.0, 0), (0.25, 500), (1.0, 2000)])
def test_a_share_of_the_jobs_is_traced(ratio: float, expected: int) -> None:
    settings = TracingSettings(exporter="file", sampling_ratio=ratio)
    traced = sum(submit_context(str(uuid.uuid4()), settings) is not None for _ in range(2000))
    assert traced == pytest.approx(expected, abs=120)  # The tolerance is six standard deviations.


def test_without_an_exporter_no_job_is_traced() -> None:
    assert submit_context(str(uuid.uuid4()), TracingSettings()) is None


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", True),
        (None, False),
        ("", False),
        ("nonsense", False),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", False),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", False),
        ("00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n", False),
    ],
)
def test_a_client_names_its_span_by_a_valid_header(header: str | None, taken: bool) -> None:
    assert (client_context(header) is not None) == taken


def test_waiting_and_attempt_are_the_whole_of_a_job() -> None:
    tracking = Traced()
    tracking.submit_traced()
    tracking.clock.now += 3.0
    claim = tracking.claim()
    tracking.clock.now += 7.0
    tracking.finish(claim)
    job, waiting, attempt = (tracking.spans.named(name) for name in ("job", "waiting", "attempt 1"))
    assert (seconds(waiting), seconds(attempt), seconds(job)) == pytest.approx((3.0, 7.0, 10.0))
    assert is_child(waiting, job)
    assert is_child(attempt, job)
    assert attempt.attributes["acestep.outcome"] == "succeeded"
    assert job.attributes["acestep.state"] == "succeeded"


def test_a_runner_knows_the_span_of_its_attempt_before_the_tracker_makes_it() -> None:
    tracking = Traced()
    job_id = tracking.submit_traced()
    claim = tracking.claim()
    origin = attempt_origin(claim)
    tracking.finish(claim)
    assert origin.job_id == job_id
    assert origin.traceparent == context_of(tracking.spans.named("attempt 1"))


def test_the_job_hangs_under_its_submit_across_a_restart_of_the_tracker() -> None:
    tracking = Traced()
    tracking.submit_traced()
    claim = tracking.claim()
    tracking.restart()
    tracking.finish(claim)
    job = tracking.spans.named("job")
    assert job.parent is not None
    assert f"{job.parent.span_id:016x}" == claim.job.traceparent.split("-")[2]
    assert is_child(tracking.spans.named("attempt 1"), job)


def test_every_attempt_has_a_span_even_where_its_process_was_killed() -> None:
    tracking = Traced(lease_seconds=10.0)
    tracking.submit_traced()
    tracking.claim()
    tracking.clock.now += 11.0
    tracking.tracker.requeue_expired()
    failing = tracking.claim()
    assert tracking.tracker.fail(failing.job.job_id, failing.token, "no GPU", True, "unavailable")
    tracking.finish(tracking.claim())
    job = tracking.spans.named("job")
    attempts = [span for span in tracking.spans.all if span.name.startswith("attempt")]
    assert [span.name for span in attempts] == ["attempt 1", "attempt 2", "attempt 3"]
    assert [span.attributes.get("error.type") for span in attempts] == ["lost", "unavailable", None]
    assert all(is_child(span, job) for span in attempts)
    assert len({span.context.span_id for span in tracking.spans.all}) == len(tracking.spans.all)
    assert tracking.spans.names.count("waiting") == 3


def test_an_attempt_that_was_handed_back_and_the_next_have_one_number_and_two_spans() -> None:
    tracking = Traced()
    tracking.submit_traced()
    claim = tracking.claim()
    assert tracking.tracker.release(claim.job.job_id, claim.token)
    tracking.finish(tracking.claim())
    first, second = (span for span in tracking.spans.all if span.name == "attempt 1")
    assert first.context.span_id != second.context.span_id
    assert first.attributes["acestep.outcome"] == "handed_back"


def test_a_job_that_is_cancelled_while_it_waits_has_only_waited() -> None:
    tracking = Traced()
    job_id = tracking.submit_traced()
    tracking.clock.now += 2.0
    tracking.tracker.cancel(job_id)
    assert tracking.spans.names == ["waiting", "job"]
    assert seconds(tracking.spans.named("waiting")) == pytest.approx(2.0)
    assert tracking.spans.named("job").status.is_ok  # A cancelled job is not an error.


def test_a_job_that_failed_is_marked() -> None:
    tracking = Traced()
    tracking.submit_traced()
    claim = tracking.claim()
    assert tracking.tracker.fail(
        claim.job.job_id, claim.token, "The music came out silent.", False, "request"
    )
    assert not tracking.spans.named("job").status.is_ok
    assert tracking.spans.named("attempt 1").attributes["error.type"] == "request"


def test_the_second_life_of_a_job_that_an_operator_put_back_is_told_beside_the_first() -> None:
    tracking = Traced()
    job_id = tracking.submit_traced()
    first_run = tracking.claim()
    tracking.tracker.fail(job_id, first_run.token, "It failed.", retryable=False)
    tracking.tidied(job_id)
    tracking.clock.now += 5.0
    tracking.tracker.requeue(job_id)
    tracking.clock.now += 1.0
    tracking.finish(tracking.claim())
    first, second = (span for span in tracking.spans.all if span.name == "job")
    assert first.context.trace_id == second.context.trace_id
    assert first.context.span_id != second.context.span_id
    waits = [span for span in tracking.spans.all if span.name == "waiting"]
    assert seconds(waits[1]) == pytest.approx(1.0)
    assert is_child(waits[1], second)


def test_a_job_that_is_not_traced_has_no_spans() -> None:
    tracking = Traced()
    tracking.submit()
    tracking.finish(tracking.claim())
    assert tracking.spans.all == []
