"""Capacity limits for requests in flight: slots per client and of all together, and bytes of all bodies."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

RETRY_SECONDS = 5.0
"""`Retry-After`; downloads and uploads usually end within seconds."""


class CapacityError(Exception):
    """There is no capacity: 429 where the client itself uses its share, 503 where all clients together do."""

    def __init__(self, status: int, message: str, retry_after: float = RETRY_SECONDS) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after


class Slots:
    """How many long requests all clients together may have open, so that short ones find room."""

    def __init__(self, total: int) -> None:
        self._free = total

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a slot. Raises CapacityError (503) where none is left."""
        if not self._free:
            raise CapacityError(503, "The server has as many requests open as it can serve")
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


class ClientSlots:
    """How many requests of one kind each client may have open."""

    def __init__(self, kind: str, per_client: int, all_slots: Slots) -> None:
        """`kind` is a plural for error messages. Each request also holds one of `all_slots`."""
        self._kind = kind
        self._per_client = per_client
        self._all_slots = all_slots
        self._open: Counter[str] = Counter()

    @contextmanager
    def taken(self, client: str) -> Iterator[None]:
        """Hold one of the client's slots.

        Raises CapacityError: 429 where the client has none left, 503 where all clients together have none.
        """
        self.check(client)
        with self._all_slots.taken():
            self._open[client] += 1
            try:
                yield
            finally:
                self._open[client] -= 1
                if not self._open[client]:
                    del self._open[client]

    def check(self, client: str) -> None:
        """Raise CapacityError (429) where the client has no slot left. Nothing is reserved."""
        if self._open[client] >= self._per_client:
            raise CapacityError(
                429, f"You have {self._per_client} {self._kind} open, as many as one client may"
            )

    @property
    def open(self) -> int:
        """Number of open slots of all clients."""
        return self._open.total()


class ByteBudget:
    """Bytes that all request bodies together may take while they are received and parsed."""

    def __init__(self, total: int) -> None:
        self._left = total

    @contextmanager
    def share(self) -> Iterator["ByteShare"]:
        """The share of one body, which is returned at the end of the block."""
        share = ByteShare(self)
        try:
            yield share
        finally:
            self._left += share.taken

    def check(self, count: int) -> None:
        """Raise CapacityError (503) where fewer than `count` bytes are left."""
        if count > self._left:
            raise CapacityError(503, "The server receives as many uploads as it can hold")

    def take(self, count: int) -> None:
        """Take `count` bytes. Raises CapacityError (503) where fewer are left."""
        self.check(count)
        self._left -= count


class ByteShare:
    """The bytes of a budget that one body has taken."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.taken = 0

    def check(self, count: int) -> None:
        """Raise CapacityError (503) where the share could not be raised to `count` bytes now."""
        self._budget.check(count - self.taken)

    def reach(self, count: int) -> None:
        """Raise the share to `count` bytes. Raises CapacityError (503)."""
        missing = count - self.taken
        if missing > 0:
            self._budget.take(missing)
            self.taken = count
