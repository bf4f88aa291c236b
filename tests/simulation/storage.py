"""The simulated storage of songs and recordings: deletions may fail halfway, and its disk may be full."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from deployments.common.errors import StorageError
from serve_app.storage import AudioStorage

if TYPE_CHECKING:
    from tests.simulation.world import World

ROOT = "sim://songs"
SONG_BYTES = 1000


class SimulatedStorage(AudioStorage):
    """The files of all jobs, by URI, with their content."""

    def __init__(self, world: "World") -> None:
        self._root = ROOT
        self.files: dict[str, str] = {}
        self._world = world
        self._rng = world.rng_of("storage")
        self._signed: dict[str, tuple[float, bytes]] = {}

    def put(self, uri: str, content: str) -> None:
        """Write a file. Raises StorageError."""
        self._may_fail()
        if "disk is full" in self._world.active:
            raise StorageError("the disk is full")
        self.files[uri] = content
        self._world.trace("file", uri)

    def delete_job(self, job_id: str) -> None:
        self._delete(f"{ROOT}/{job_id}/", ())

    def delete_attempt(self, job_id: str, attempt: int) -> None:
        self._delete(f"{ROOT}/{job_id}/{attempt}/", ())

    def delete_all_but(self, job_id: str, uris: Collection[str]) -> None:
        self._delete(f"{ROOT}/{job_id}/", uris)

    def job_ids(self) -> list[str]:
        self._may_fail()
        return list(dict.fromkeys(uri.split("/")[3] for uri in self.files))

    def sign_in(self, store: str, note: bytes) -> None:
        self._may_fail()
        self._signed[store] = self._world.loop.time(), note

    def sign_out(self, store: str) -> None:
        self._signed.pop(store, None)

    def note_of(self, store: str) -> bytes | None:
        self._may_fail()
        return self._signed[store][1] if store in self._signed else None

    def sign_ins(self) -> dict[str, float]:
        self._may_fail()
        return {store: at for store, (at, _) in self._signed.items()}

    def _delete(self, folder: str, kept: Collection[str]) -> None:
        for uri in [uri for uri in self.files if uri.startswith(folder) and uri not in kept]:
            self._may_fail()
            self._world.referee.will_be_deleted(uri)
            del self.files[uri]
            self._world.trace("deleted", uri)

    def _may_fail(self) -> None:
        if self._world.chance("storage fails", self._rng):
            raise StorageError("the storage failed")
