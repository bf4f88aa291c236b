"""The parts of a record that are written apart from the rest, because they are large and change seldom.

The specification is written when the job is submitted, the checkpoint when a stage ends, and the result when
the job ends. All other fields make up the record proper, about a kilobyte, which every change writes.
"""

from collections.abc import Iterable, Mapping

from serve_app.jobs.model import Job

PARTS = ("spec", "checkpoint", "result")
"""Fields of Job."""


class WrittenParts:
    """Knows for each unsettled job which parts the store has.

    A part is never changed in place: a part that differs is another object. A job that is not known here is
    written whole, so after a restart the first change of each job writes everything in the present layout.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def known(self, job_id: str) -> Job | None:
        """Return the job as the store has it."""
        return self._jobs.get(job_id)

    def changed(self, job: Job) -> tuple[str, ...]:
        """Return the names of the parts that the store lacks."""
        known = self._jobs.get(job.job_id)
        return tuple(
            name for name in PARTS if known is None or getattr(known, name) is not getattr(job, name)
        )

    def written(self, changes: Mapping[str, Job | None]) -> None:
        """Note a write that succeeded."""
        for job_id, job in changes.items():
            if job is None or job.is_settled:
                self._jobs.pop(job_id, None)
            else:
                self._jobs[job_id] = job

    def forget(self, job_ids: Iterable[str]) -> None:
        """Write these jobs whole the next time: nobody knows whether their last write succeeded."""
        for job_id in job_ids:
            self._jobs.pop(job_id, None)

    def forget_all(self) -> None:
        """Write every job whole the next time: somebody else has changed the store."""
        self._jobs.clear()
