"""The knowledge that the client has of a job without asking, and its display in a notebook."""

import html
from collections.abc import Sequence

from acestep_client.answers import JobResult, JobSnapshot, JobStatus, Submitted
from acestep_client.later_answers import BatchSnapshot


class AnyJob:
    """The common part of `Job` and `AsyncJob`: the job as the client saw it last."""

    def __init__(self, job_id: str, known: Submitted | JobSnapshot | None = None) -> None:
        self.id = job_id
        self._known = known

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, {self.status or 'not polled yet'})"

    @property
    def status(self) -> JobStatus | None:
        """The status; None if the job was never polled."""
        return self._known.status if self._known else None

    @property
    def snapshot(self) -> JobSnapshot | None:
        """The last answer to a poll; None if the job was never polled."""
        return self._known if isinstance(self._known, JobSnapshot) else None

    @property
    def result(self) -> JobResult | None:
        """How the songs were made; None if the job has not succeeded, as far as is known."""
        return self.snapshot.result if self.snapshot else None

    @property
    def has_ended(self) -> bool:
        """Whether the job is known to have ended."""
        return self.status in {"succeeded", "failed", "cancelled"}

    @property
    def _song_urls(self) -> list[str]:
        return self.result.audio_paths if self.result else []

    def _shown(self, players: str) -> str:
        snapshot = self.snapshot
        rows = {"job": self.id, "status": self.status or "not polled yet"}
        if snapshot is not None and not self.has_ended:
            rows["stage"] = f"{snapshot.stage}, {snapshot.progress:.0%}"
        if snapshot is not None and snapshot.error:
            rows["error"] = snapshot.error
        if self.result is not None:
            rows["caption"] = str(self.result.metas.get("caption") or "")
            rows["made with"] = self.result.generation_info
        cells = (
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
            for name, value in rows.items()
            if value
        )
        return f"<table>{''.join(cells)}</table>{players}"


class AnyBatch:
    """The common part of `Batch` and `AsyncBatch`."""

    def __init__(self, batch_id: str, job_ids: Sequence[str]) -> None:
        self.id = batch_id
        self.job_ids = tuple(job_ids)
        """In the order of the requests, as far as they are known."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"

    def _known(self, snapshot: BatchSnapshot) -> BatchSnapshot:
        self.job_ids = tuple(job.job_id for job in snapshot.jobs)
        return snapshot
