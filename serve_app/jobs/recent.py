"""Closed jobs that were looked at or ended lately: polls of them need no store."""

from collections import OrderedDict

from serve_app.jobs.model import Job

MAX_JOBS = 1000
MAX_CHARACTERS = 16 << 20
"""Of texts and audio codes, all jobs together: they are what a record is large by."""
_CODE_CHARACTERS = 8


class RecentJobs:
    """The newest records of some closed jobs; the one that was remembered last is always among them."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._characters = 0

    def get(self, job_id: str) -> Job | None:
        """A job that is remembered."""
        if job := self._jobs.get(job_id):
            self._jobs.move_to_end(job_id)
        return job

    def remember(self, job: Job) -> None:
        """Keep a record, and forget those that were not looked at for longest."""
        self.forget(job.job_id)
        self._jobs[job.job_id] = job
        self._characters += _characters(job)
        while len(self._jobs) > 1 and (len(self._jobs) > MAX_JOBS or self._characters > MAX_CHARACTERS):
            self.forget(next(iter(self._jobs)))

    def forget(self, job_id: str) -> None:
        """A job is open again, or gone."""
        if job := self._jobs.pop(job_id, None):
            self._characters -= _characters(job)


def _characters(job: Job) -> int:
    request = job.spec.request
    codes = sum(map(len, job.spec.codes)) * _CODE_CHARACTERS
    results = sum(len(text or "") for text in (job.result or {}).get("audio_codes") or [])
    return len(request.caption) + len(request.lyrics) + len(request.audio_code_string) + codes + results
