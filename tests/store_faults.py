"""Job stores that are really full or away for a while: files that may not grow, a Redis without memory."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.redis_server import RedisServer


class FullDisk:
    """The SQLite file and its log cannot grow. SQLite reports a disk I/O error (EFBIG in place of ENOSPC)."""

    def __init__(self, path: Path) -> None:
        self.location = str(path)
        self._log = path.with_name(path.name + "-wal")
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def begin(self) -> None:
        """Let no file of this process grow beyond the present size of the log."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._log.stat().st_size, self._limits[1]))

    def end(self) -> None:
        """Let files grow again."""
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)


class FullRedis:
    """Redis is at `maxmemory` and evicts nothing, so it refuses commands that need memory."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.location = server.url

    def begin(self) -> None:
        self._server.fill()

    def end(self) -> None:
        self._server.give_room()


class LostRedis:
    """Redis is killed, and started again later."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.location = server.url

    def begin(self) -> None:
        self._server.kill()

    def end(self) -> None:
        self._server.start()


Fault = FullDisk | FullRedis | LostRedis


@contextmanager
def fault_of(kind: str, folder: Path, start_redis: Callable[..., RedisServer]) -> Iterator[Fault]:
    """Yield a store of this kind. Its fault has ended afterwards."""
    if kind == "full disk":
        fault: Fault = FullDisk(folder / "jobs.sqlite3")
    else:
        fault = {"full redis": FullRedis, "lost redis": LostRedis}[kind](start_redis())
    try:
        yield fault
    finally:
        if isinstance(fault, FullDisk):
            fault.end()
