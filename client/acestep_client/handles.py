"""Handles of jobs and songs: `Job` and `Song`."""

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from acestep_client import flows
from acestep_client.answers import JobResult, JobSnapshot, Submitted
from acestep_client.driver import Driver
from acestep_client.jobs import AnyBatch, AnyJob
from acestep_client.later_answers import BatchSnapshot, Purged
from acestep_client.songs import AnySong


class Song(AnySong):
    """A finished song."""

    def __init__(self, url: str, driver: Driver) -> None:
        super().__init__(url)
        self._driver = driver

    def read(self) -> bytes:
        """Return the content of the file. It is fetched once. Raises AcestepError."""
        if self._content is None:
            self._content = self._driver.run(flows.content, self.url)
        return self._content

    def save(self, path: str | Path | None = None) -> Path:
        """Write the song to a file, or under its own name into a folder, and return the path.

        The file appears when it is complete. Raises AcestepError and OSError.
        """
        target = self._target(path)
        self._driver.run(flows.saved, self.url, target)
        return target

    def _repr_html_(self) -> str:
        return self._player(self.read())


class Job(AnyJob):
    """A job of the server."""

    def __init__(self, job_id: str, driver: Driver, known: Submitted | JobSnapshot | None = None) -> None:
        super().__init__(job_id, known)
        self._driver = driver

    @property
    def songs(self) -> list[Song]:
        """The songs; none before the job has succeeded."""
        return [Song(url, self._driver) for url in self._song_urls]

    def refresh(self) -> JobSnapshot:
        """Ask the server how the job stands."""
        self._known = snapshot = self._driver.run(flows.snapshot, self.id)
        return snapshot

    def wait(
        self, on_progress: Callable[[JobSnapshot], Any] | None = None, timeout: float | None = None
    ) -> JobResult:
        """Wait for the end of the job and return its result.

        `on_progress` is called at once, after each change and at least every second. Raises JobFailedError,
        JobCancelledError, and WaitTimeoutError after `timeout` seconds, in which case the job goes on.
        """
        self._known = self._driver.run(flows.ended, self.id, on_progress, timeout)
        return flows.result_of(self._known)

    def events(self) -> Generator[JobSnapshot, None, None]:
        """Yield the job as it stands, and again after each change, to its end."""
        for snapshot in self._driver.iterate(flows.events, self.id):
            self._known = snapshot
            yield snapshot

    def cancel(self) -> JobSnapshot:
        """Cancel the job. Raises ConflictError if it has ended otherwise."""
        self._known = snapshot = self._driver.run(flows.cancelled, self.id)
        return snapshot

    def purge(self) -> Purged:
        """Delete the job and all that the server keeps of it; one that has not ended is cancelled."""
        return self._driver.run(flows.purged, self.id)

    def save(self, folder: str | Path = ".") -> list[Path]:
        """Write all songs into a folder and return their paths. A job that has not ended is waited for.

        Raises JobFailedError, JobCancelledError and OSError, too.
        """
        if self.result is None:
            self.wait()
        return [song.save(Path(folder) / song.name) for song in self.songs]

    def _repr_html_(self) -> str:
        return self._shown("".join(song._repr_html_() for song in self.songs))


class Batch(AnyBatch):
    """Jobs that were submitted together."""

    def __init__(self, batch_id: str, driver: Driver, job_ids: Sequence[str] = ()) -> None:
        super().__init__(batch_id, job_ids)
        self._driver = driver

    @property
    def jobs(self) -> list[Job]:
        """The jobs in the order of the requests; of a batch that was found by its id after `refresh`."""
        return [Job(job_id, self._driver) for job_id in self.job_ids]

    def refresh(self) -> BatchSnapshot:
        """Ask the server how the batch stands."""
        return self._known(self._driver.run(flows.batch, self.id))

    def wait(
        self, on_progress: Callable[[BatchSnapshot], Any] | None = None, timeout: float | None = None
    ) -> BatchSnapshot:
        """Wait until all jobs have ended, however they do. Raises WaitTimeoutError after that time."""
        return self._known(self._driver.run(flows.ended_batch, self.id, on_progress, timeout))

    def cancel(self) -> BatchSnapshot:
        """Cancel the jobs that have not ended."""
        return self._known(self._driver.run(flows.cancelled_batch, self.id))
