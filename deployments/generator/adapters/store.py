"""The adapters that a Generator has loaded, within a budget of bytes.

A job holds its adapters from before its songs join the batch until they are finished. An adapter that is
held is never evicted; of the others the least recently used go first. Files are read and prepared on a thread
of their own, so that only the jobs that need them wait.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, TypeVar

import torch

from deployments.checkpoints.adapters.errors import AdapterError
from deployments.checkpoints.adapters.folders import AdapterFile
from deployments.checkpoints.adapters.outline import misfits
from deployments.checkpoints.adapters.reading import read_adapter
from deployments.checkpoints.adapters.shelf import AdapterShelf
from deployments.common.errors import JobError
from deployments.common.messages import AdapterUse, UsedAdapter
from deployments.common.processor import use_threads
from deployments.generator.adapters.mounting import DeviceAdapter, Mount, Mounter

logger = logging.getLogger("ray.serve")

PATIENCE_SECONDS = 30.0
"""After a job has waited this long for room, later jobs no longer take adapters before it."""
_MOUNTS = 64
"""Mounts that are kept for later jobs. Without DoRA they are small."""

_Made = TypeVar("_Made")
_Key = tuple[str, str]
"""URI and version of a file."""


@dataclass(eq=False)
class _Entry:
    """An adapter that is loaded or is being loaded."""

    byte_count: int
    loading: "asyncio.Task[DeviceAdapter]"
    holders: int = 0
    """Jobs that hold it."""


@dataclass(eq=False)
class _Waiting:
    """A job that waits for its adapters."""

    files: dict[_Key, AdapterFile]
    since: float


@dataclass(frozen=True)
class Mounted:
    """The adapters of a job."""

    mount: Mount | None
    """None for a job without adapters."""
    used: tuple[UsedAdapter, ...] = ()


class AdapterStore:
    """Loads adapters by name and keeps some. It belongs to one event loop."""

    def __init__(
        self,
        shelf: AdapterShelf,
        mounter: Mounter,
        budget: int,
        count_load: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`budget` is the number of bytes for all loaded adapters; `count_load` is called after each load."""
        self._shelf = shelf
        self._mounter = mounter
        self._budget = budget
        self._count_load = count_load
        self._clock = clock
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        """Least recently used first."""
        self._mounts: OrderedDict[tuple[tuple[_Key, float], ...], Mount | None] = OrderedDict()
        self._waiting: list[_Waiting] = []
        """In the order of their arrival."""
        self._changed = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "adapters", initializer=use_threads, initargs=(1,))
        self._stream: Any = None
        """The stream of a GPU on which adapters are loaded and mounted."""

    @property
    def byte_count(self) -> int:
        """Bytes of all loaded adapters."""
        return sum(entry.byte_count for entry in self._entries.values())

    @asynccontextmanager
    async def mounted(self, uses: Sequence[AdapterUse]) -> AsyncGenerator[Mounted, None]:
        """Hold adapters until the end of the block; first wait until there is room, and load them.

        Raises JobError for adapters that do not exist, are damaged, do not fit the DiT or never fit into the
        budget; StorageError where a file cannot be read.
        """
        if not uses:
            yield Mounted(None)
            return
        files = await asyncio.to_thread(self._found, uses)
        distinct = {_key(file): file for file in files}
        await self._enter(distinct)
        try:
            loaded = {key: await self._loaded(key) for key in distinct}
            adapters = [(_key(file), loaded[_key(file)], use) for file, use in zip(files, uses, strict=True)]
            mount = await self._mount([(key, adapter, use.scale) for key, adapter, use in adapters])
            used = tuple(
                UsedAdapter(file.name, use.scale, adapter.identity, file.outline.warnings)
                for file, (_, adapter, use) in zip(files, adapters, strict=True)
            )
            yield Mounted(mount, used)
        finally:
            self._leave(distinct)

    def _found(self, uses: Sequence[AdapterUse]) -> list[AdapterFile]:
        """The files of adapters whose outlines fit the DiT."""
        files = []
        for use in uses:
            if (file := self._shelf.find(use.name)) is None:
                raise JobError(f"This server has no adapter {use.name!r}.")
            try:
                outline = file.outline
            except AdapterError as error:
                raise _unusable(file, str(error)) from error
            if misfit := next(misfits(outline, self._mounter.linears), None):
                raise _unusable(file, f"it does not fit the model: {misfit}")
            files.append(file)
        return files

    async def _enter(self, files: dict[_Key, AdapterFile]) -> None:
        """Wait for room, then hold the adapters; those that are not loaded begin to load."""
        need = sum(self._bytes(file) for file in files.values())
        if need > self._budget:
            names = ", ".join(file.name for file in files.values())
            raise JobError(
                f"The adapters of this song ({names}) take {need} bytes, more than this server has for "
                "adapters."
            )
        me = _Waiting(files, self._clock())
        self._waiting.append(me)
        try:
            while not self._may_enter(me):
                self._changed.clear()
                await self._changed.wait()
        finally:
            self._waiting.remove(me)
            self._changed.set()
        self._hold(files)

    def _may_enter(self, job: _Waiting) -> bool:
        """Whether the job's adapters fit beside those that are held, and it passes nobody out of patience."""
        now = self._clock()
        before = takewhile(lambda other: other is not job, self._waiting)
        if any(now - other.since > PATIENCE_SECONDS for other in before):
            return False
        held = sum(
            entry.byte_count for key, entry in self._entries.items() if entry.holders and key not in job.files
        )
        return held + sum(self._bytes(file) for file in job.files.values()) <= self._budget

    def _hold(self, files: dict[_Key, AdapterFile]) -> None:
        missing = sum(self._bytes(file) for key, file in files.items() if key not in self._entries)
        for key in [key for key, entry in self._entries.items() if not entry.holders and key not in files]:
            if self.byte_count + missing <= self._budget:
                break
            self._forget(key)
        for key, file in files.items():
            if key not in self._entries:
                self._entries[key] = _Entry(self._bytes(file), asyncio.create_task(self._load(file)))
            self._entries[key].holders += 1
            self._entries.move_to_end(key)

    def _leave(self, files: dict[_Key, AdapterFile]) -> None:
        for key in files:
            entry = self._entries[key]
            entry.holders -= 1
            if not entry.holders and (not entry.loading.done() or _has_failed(entry.loading)):
                entry.loading.cancel()  # nobody waits for it any more
                self._forget(key)
        self._changed.set()

    def _forget(self, key: _Key) -> None:
        del self._entries[key]
        for uses in [uses for uses in self._mounts if any(used == key for used, _ in uses)]:
            del self._mounts[uses]

    async def _loaded(self, key: _Key) -> DeviceAdapter:
        # The task belongs to all jobs that hold the adapter: one that is cancelled must not stop it.
        return await asyncio.shield(self._entries[key].loading)

    async def _load(self, file: AdapterFile) -> DeviceAdapter:
        started = time.monotonic()
        adapter = await asyncio.get_running_loop().run_in_executor(self._thread, self._read, file)
        self._count_load()
        logger.info("loaded the adapter %s in %.0f ms", file.name, 1000 * (time.monotonic() - started))
        return adapter

    def _read(self, file: AdapterFile) -> DeviceAdapter:
        try:
            adapter = read_adapter(file.content(), file.outline)
        except AdapterError as error:
            raise _unusable(file, str(error)) from error
        return self._beside(lambda: self._mounter.on_device(adapter))

    def _beside(self, make: Callable[[], _Made]) -> _Made:
        """Return the result of `make`, which does not wait for the forwards that run on the device."""
        device = self._mounter.device
        if device.type != "cuda":
            return make()
        # Memory that was freed on one stream is used again on that stream only, so there is one for all.
        if self._stream is None:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._stream):
            made = make()
        self._stream.synchronize()
        return made

    async def _mount(self, adapters: Sequence[tuple[_Key, DeviceAdapter, float]]) -> Mount | None:
        """The mount for these adapters and strengths, one and the same for all songs that have them."""
        uses = tuple((key, strength) for key, _, strength in adapters)
        if uses not in self._mounts:
            parts = [(adapter, strength) for _, adapter, strength in adapters]
            mount = await asyncio.get_running_loop().run_in_executor(
                self._thread, lambda: self._beside(lambda: self._mounter.mount(parts))
            )
            self._mounts.setdefault(uses, mount)
        self._mounts.move_to_end(uses)
        found = self._mounts[uses]
        while len(self._mounts) > _MOUNTS:
            self._mounts.popitem(last=False)
        return found

    def _bytes(self, file: AdapterFile) -> int:
        return file.outline.loaded_bytes(self._mounter.width)


def _key(file: AdapterFile) -> _Key:
    return file.uri, file.version


def _has_failed(loading: "asyncio.Task[DeviceAdapter]") -> bool:
    return loading.done() and (loading.cancelled() or loading.exception() is not None)


def _unusable(file: AdapterFile, problem: str) -> JobError:
    return JobError(f"The adapter {file.name!r} cannot be used: {problem}.")
