"""The adapters that a process knows: listings of the folders, read again when they are some seconds old."""

import time
from collections.abc import Callable, Mapping, Sequence
from threading import Lock

from deployments.checkpoints.adapters.folders import AdapterFile, adapter_files

LISTED_SECONDS = 5.0
"""Age at which a listing is read again."""


class AdapterShelf:
    """The adapters in `models.adapters`. Its methods block, and may be called on several threads."""

    def __init__(self, folders: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._folders = tuple(folders)
        self._clock = clock
        self._files: Mapping[str, AdapterFile] = {}
        self._listed_at: float | None = None
        self._lock = Lock()

    def files(self) -> Mapping[str, AdapterFile]:
        """All adapters by name. What was read of files that have not changed is kept.

        Raises StorageError where a folder cannot be listed.
        """
        if not self._folders:
            return {}
        with self._lock:
            now = self._clock()
            if self._listed_at is None or now - self._listed_at >= LISTED_SECONDS:
                known = self._files
                self._files = {
                    name: known[name] if known.get(name) == file else file
                    for name, file in adapter_files(self._folders).items()
                }
                self._listed_at = now
            return self._files

    def find(self, name: str) -> AdapterFile | None:
        """The adapter called `name`, also with the ending of its file."""
        files = self.files()
        return files.get(name) or files.get(name.removesuffix(".safetensors"))
