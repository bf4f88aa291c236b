"""The names of the Redis store's keys."""

from dataclasses import dataclass
from urllib.parse import quote

from serve_app.jobs.model import Job


@dataclass(frozen=True)
class Keys:
    """All keys. The prefix is `?prefix=` of the store's URL."""

    prefix: str

    @property
    def meta(self) -> str:
        """Hash: version, epoch, writes (their number), taken_by, next_sequence, secret, mode."""
        return f"{self.prefix}:meta"

    @property
    def client_notes(self) -> str:
        """Hash: client -> what was noted about it."""
        return f"{self.prefix}:client_notes"

    @property
    def records(self) -> str:
        """Hash: job id -> JSON."""
        return f"{self.prefix}:records"

    def part(self, name: str) -> str:
        """Hash: job id -> JSON of one part of the record."""
        return f"{self.prefix}:{name}s"

    @property
    def set_aside(self) -> str:
        """Hash: job id -> a record that could not be read."""
        return f"{self.prefix}:set_aside"

    @property
    def set_aside_reasons(self) -> str:
        """Hash: job id -> JSON, the state that the job was listed under and why its record was set aside."""
        return f"{self.prefix}:set_aside_reasons"

    @property
    def stored(self) -> str:
        """Hash: job id -> bytes and client, of jobs with bytes in the storage."""
        return f"{self.prefix}:stored"

    @property
    def open(self) -> str:
        """Sorted set: ids of jobs that are not settled, by sequence."""
        return f"{self.prefix}:open"

    def ended(self, with_files: bool) -> str:
        """Sorted set: ids of settled jobs by the time of their end."""
        return f"{self.prefix}:ended{':with_files' if with_files else ''}"

    @property
    def kept(self) -> str:
        """Sorted set: ids of settled jobs with a time until which they are kept, by that time."""
        return f"{self.prefix}:kept"

    @property
    def usage_days(self) -> str:
        """Sorted set: the days that have usage, all with the score 0."""
        return f"{self.prefix}:usage:days"

    def usage(self, day: str) -> str:
        """Hash: the name of an amount, a space and a client -> the amount."""
        return f"{self.prefix}:usage:of:{day}"

    def jobs(self, client: str | None, state: str | None) -> str:
        """Sorted set: ids of jobs by sequence, of one client or all (None), in one state or all (None)."""
        parts = [
            "" if client is None else f"client={_quoted(client)}",
            "" if state is None else f"state={state}",
        ]
        return ":".join([f"{self.prefix}:jobs", *filter(None, parts)])

    def idempotency(self, client: str, key: str) -> str:
        """Sorted set: ids of jobs by sequence."""
        return f"{self.prefix}:idempotency:{_quoted(client)}:{_quoted(key)}"

    def of(self, job: Job) -> dict[str, float]:
        """Return the sorted sets that contain a job, with its scores."""
        sequence = job.place.sequence
        clients, states = (None, job.client), (None, job.state.value)
        found: dict[str, float] = {
            self.jobs(client, state): sequence for client in clients for state in states
        }
        if job.idempotency:
            found[self.idempotency(job.client, job.idempotency.key)] = sequence
        if not job.is_settled:
            found[self.open] = sequence
        elif job.finished_at is not None:
            found[self.ended(with_files=False)] = job.finished_at
            if job.files:
                found[self.ended(with_files=True)] = job.finished_at
            if job.keep_until is not None:
                found[self.kept] = job.keep_until
        return found


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")
