"""The simulated store: what trackers share, with the faults of a database, and the connection of one tracker.

A write first has its effect, which reads see at once, and is synced a moment later; then it is answered. A
crash of the store takes back all effects that were not synced. That is how Redis with `appendfsync always`
behaves; a write to SQLite is the special case that nobody reads between effect and sync.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serve_app.jobs.mode import Mode
from serve_app.jobs.model import Job, JobState
from serve_app.jobs.storing.store import ClientKey, MemoryJobStore, StoreError, changes_of, check_owner
from serve_app.jobs.usage import Usage, UsageKey
from tests.simulation.loop import BlockingCall

if TYPE_CHECKING:
    from tests.simulation.world import World

SECRET = b"the secret of the simulated db!!"


@dataclass
class _Unsynced:
    """A write that a crash of the store would take back."""

    changes: dict[str, Job | None]
    before: dict[str, Job | None]
    meta: tuple[int, int, int, object]
    """Next sequence, epoch, number of writes, and who took the store over last, before it."""
    usage: dict[UsageKey, Usage]
    """The usage before it."""
    call: BlockingCall | None
    forget: Callable[[], None] = lambda: None
    """Lets the connection know of its tracker's ownership what it knew before, because it got no answer."""


class Database:
    """The records that all trackers share, and who may write them."""

    def __init__(self, world: "World") -> None:
        self.jobs: dict[str, Job] = {}
        self.next_sequence = 0
        self.epoch = 0
        self.writes = 0
        self.taken_by: object = None
        """The connection that last took the store over with a write of a record."""
        self.mode = Mode.OPEN
        self.usage: dict[UsageKey, Usage] = {}
        self._world = world
        self._rng = world.rng_of("database")
        self._unsynced: list[_Unsynced] = []
        self._away_until = 0.0
        self._crashes_for: float | None = None

    def enter(self) -> None:
        """Begin a call. Raises StoreError if the store is away or fails."""
        world = self._world
        if world.loop.time() < self._away_until:
            raise StoreError("the store is away")
        if world.chance("store fails", self._rng):
            raise StoreError("the store failed")
        slow = world.active.get("store is slow")
        if slow is not None and world.loop.thread_call is not None:
            world.loop.thread_call.more_seconds += self._rng.uniform(0, slow.amount)

    @property
    def is_full(self) -> bool:
        return "store is full" in self._world.active

    def write(
        self,
        changes: Mapping[str, Job | None],
        epoch: int,
        taken_by: object = None,
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        """Make a change, which is synced a moment later. Raises StoreError if the answer gets lost.

        `taken_by` is the connection if it takes the store over by this. `forget` is called if a crash of the
        store takes the change back.
        """
        world = self._world
        before = {job_id: self.jobs.get(job_id) for job_id in changes}
        meta = (self.next_sequence, self.epoch, self.writes, self.taken_by)
        entry = _Unsynced(dict(changes), before, meta, dict(self.usage), world.loop.thread_call, forget)
        for job_id, job in changes.items():
            if job is None:
                self.jobs.pop(job_id, None)
            else:
                for key, more in changes_of(self.jobs.get(job_id), job).items():
                    self.usage[key] = self.usage.get(key, Usage()) + more
                self.jobs[job_id] = job
                self.next_sequence = max(self.next_sequence, job.place.sequence + 1)
        self.epoch = epoch
        self.writes += 1
        self.taken_by = taken_by or self.taken_by
        world.trace("write", ",".join(f"{key}={job and job.state.value}" for key, job in changes.items()))
        self._unsynced.append(entry)
        takes = self._rng.expovariate(1 / 0.002)
        if world.loop.thread_call is not None:
            world.loop.thread_call.more_seconds += takes + 0.001
        world.later(takes, self._sync, entry)
        if self._crashes_for is not None:
            world.later(0.0, self.crash, self._crashes_for)
            self._crashes_for = None
        if world.chance("store loses answers", self._rng):
            raise StoreError("the store did not answer in time")

    def crash_soon(self, seconds: float) -> None:
        """Crash between the effect and the sync of the next write."""
        self._crashes_for = seconds

    def heal(self) -> None:
        """End all faults."""
        self._crashes_for = None
        self._away_until = 0.0

    def crash(self, seconds: float) -> None:
        """Lose what is not synced, and be away for some seconds."""
        for entry in reversed(self._unsynced):
            for job_id, job in entry.before.items():
                if job is None:
                    self.jobs.pop(job_id, None)
                else:
                    self.jobs[job_id] = job
            self.next_sequence, self.epoch, self.writes, self.taken_by = entry.meta
            self.usage.clear()
            self.usage.update(entry.usage)
            if entry.call is not None:
                entry.call.error = StoreError("the store closed the connection")
            entry.forget()
        self._world.note("unsynced writes lost", len(self._unsynced))
        self._unsynced.clear()
        self._away_until = self._world.loop.time() + seconds

    def _sync(self, entry: _Unsynced) -> None:
        """Make a write durable, with all writes before it."""
        if entry not in self._unsynced:
            return
        index = self._unsynced.index(entry) + 1
        synced, self._unsynced = self._unsynced[:index], self._unsynced[index:]
        for one in synced:
            self._world.referee.became_durable(one.changes, self._world.storage.files)


class SimulatedStore(MemoryJobStore):
    """One tracker's connection."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        database.enter()
        self._jobs = database.jobs
        self._usage = database.usage
        self._is_mine = not database.is_full
        self._is_closed = False
        if self._is_mine:
            database.write({}, database.epoch + 1)
        self._epoch = database.epoch
        self._seen = database.writes

    def write(self, changes: Mapping[str, Job | None]) -> None:
        self.check_owner()
        database = self._database
        keeps = any(job is not None for job in changes.values())
        if keeps and database.is_full:
            raise StoreError("the store is full")
        takes = keeps and not self._is_mine
        known = self._is_mine, self._epoch, self._seen

        def forget() -> None:
            self._is_mine, self._epoch, self._seen = known

        try:
            database.write(changes, database.epoch + takes, self if takes else None, forget)
        finally:
            self._seen = database.writes  # A store does not take a tracker's own write for another one's.
        self._is_mine = self._is_mine or takes
        self._epoch = database.epoch

    def check_owner(self) -> None:
        database = self._enter()
        if not self._is_mine and database.epoch == self._epoch + 1 and database.taken_by is self:
            self._epoch, self._is_mine = database.epoch, True
        check_owner("the store", database.epoch, self._epoch, self._is_mine, self._seen == database.writes)

    def get(self, job_id: str) -> Job | None:
        self._enter()
        return super().get(job_id)

    def get_many(self, job_ids: Collection[str]) -> Mapping[str, Job]:
        self._enter()
        return super().get_many(job_ids)

    def find_many(self, keys: Collection[ClientKey]) -> Mapping[ClientKey, Job]:
        self._enter()
        return super().find_many(keys)

    def unsettled_jobs(self) -> Iterator[Job]:
        self._enter()
        return super().unsettled_jobs()

    def page(self, client: str | None, state: JobState | None, before: int, limit: int) -> list[Job]:
        self._enter()
        return super().page(client, state, before, limit)

    def ended(self, before: float, with_files: bool, limit: int) -> list[Job]:
        self._enter()
        return super().ended(before, with_files, limit)

    def unknown(self, job_ids: Collection[str]) -> set[str]:
        self._enter()
        return super().unknown(job_ids)

    def next_sequence(self) -> int:
        return self._enter().next_sequence

    def secret(self) -> bytes:
        return SECRET

    def mode(self) -> Mode:
        return self._enter().mode

    def set_mode(self, mode: Mode) -> None:
        self.check_owner()
        self._database.mode = mode

    def close(self) -> None:
        self._is_closed = True

    def _enter(self) -> Database:
        if self._is_closed:
            raise StoreError("the store is closed")
        self._database.enter()
        return self._database
