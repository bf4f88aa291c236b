"""The tracker's events reach all listeners."""

from typing import Any

from serve_app.jobs.model import Job
from serve_app.jobs.observer import JobObserver, JobObservers, Outcome
from tests.job_records import a_job


class Listener(JobObserver):
    def __init__(self, name: str, heard: list[Any]) -> None:
        self._name = name
        self._heard = heard

    def claimed(self, job: Job) -> None:
        self._heard.append((self._name, job.job_id))

    def run_ended(self, job: Job, outcome: Outcome, at: float) -> None:
        self._heard.append((self._name, job.job_id, outcome, at))


def test_each_event_reaches_every_listener_in_order() -> None:
    heard: list[Any] = []
    observers = JobObservers(Listener("first", heard), Listener("second", heard))
    observers.claimed(a_job(1))
    observers.run_ended(a_job(2), "lost", 5.0)
    observers.ended(a_job(3))  # Nobody listens here.
    assert heard == [
        ("first", "job-1"),
        ("second", "job-1"),
        ("first", "job-2", "lost", 5.0),
        ("second", "job-2", "lost", 5.0),
    ]
