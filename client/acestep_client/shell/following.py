"""The live bar of a job: its place in the queue, then stage, progress and remaining time."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from acestep_client.answers import JobSnapshot
from acestep_client.shell.screen import err, show_repetitions


def described(job: JobSnapshot) -> str:
    """Return what a job is doing, in a few words."""
    if job.status == "queued":
        return f"waiting, position {job.queue_position}"
    return job.stage if job.status == "running" else job.status


def remaining(job: JobSnapshot) -> str:
    """Return the time that is left, as far as the server knows."""
    if job.eta_seconds is None:
        return ""
    seconds = round(job.eta_seconds)
    return f"{seconds // 60}:{seconds % 60:02} left" if seconds >= 60 else f"{seconds} s left"


class Following:
    """Shows a job on standard error: as a bar in a terminal, else as a line for each new stage."""

    def __init__(self, is_quiet: bool = False, console: Console | None = None) -> None:
        self._console = console or err()
        self._is_quiet = is_quiet
        self._shown = ""
        self._bar = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            transient=True,
            disable=is_quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("submitted", total=1.0, left="")

    def __enter__(self) -> Self:
        show_repetitions(self._console)
        self._bar.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, job: JobSnapshot) -> None:
        """Show the job as it stands."""
        words = described(job)
        if not self._bar.disable:
            self._bar.update(self._task, description=words, completed=job.progress, left=remaining(job))
        elif not self._is_quiet and words != self._shown:
            left = remaining(job)
            self._console.print(f"{words}, {left}" if left else words, markup=False)
        self._shown = words
