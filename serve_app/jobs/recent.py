"""Settled jobs that ended or were looked at recently: polls of them need not read the store."""

from collections import OrderedDict

from serve_app.jobs.model import Job

MAX_JOBS = 1000
MAX_CHARACTERS = 16 << 20
"""Maximum size of all texts and audio codes together, which make up most of a large record."""
_CODE_CHARACTERS = 8


class RecentJobs:
    """The newest records of some settled jobs, always including the one added last."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._characters = 0

    def get(self, job_id: str) -> Job | None:
        """Return a job's record; None if it is not here."""
        if job := self._jobs.get(job_id):
            self._jobs.move_to_end(job_id)
        return job

    def remember(self, job: Job) -> None:
        """Add a record, and drop the least recently used ones if there are too many."""
        self.forget(job.job_id)
        self._jobs[job.job_id] = job
        self._characters += _characters(job)
        while len(self._jobs) > 1 and (len(self._jobs) > MAX_JOBS or self._characters > MAX_CHARACTERS):
            self.forget(next(iter(self._jobs)))

    def forget(self, job_id: str) -> None:
        """Drop a job that is unsettled again, or deleted."""
        if job := self._jobs.pop(job_id, None):
            self._characters -= _characters(job)


def _characters(job: Job) -> int:
    request = job.spec.request
    codes = sum(map(len, job.spec.codes)) * _CODE_CHARACTERS
    results = sum(len(text or "") for text in (job.result or {}).get("audio_codes") or [])
    return len(request.caption) + len(request.lyrics) + len(request.audio_code_string) + codes + results
