"""Capacity limits for requests in flight: slots per client, and bytes of all bodies together."""

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


class ClientSlots:
    """How many requests of one kind each client may have open."""

    def __init__(self, kind: str, per_client: int) -> None:
        """`kind` is a plural for error messages."""
        self._kind = kind
        self._per_client = per_client
        self._open: Counter[str] = Counter()

    @contextmanager
    def taken(self, client: str) -> Iterator[None]:
        """Hold one of the client's slots. Raises CapacityError (429) where it has none left."""
        if self._open[client] >= self._per_client:
            raise CapacityError(
                429, f"You have {self._per_client} {self._kind} open, as many as one client may"
            )
        self._open[client] += 1
        try:
            yield
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]

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

    def take(self, count: int) -> None:
        """Take `count` bytes. Raises CapacityError (503) where fewer are left."""
        if count > self._left:
            raise CapacityError(503, "The server receives as many uploads as it can hold")
        self._left -= count


class ByteShare:
    """The bytes of a budget that one body has taken."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.taken = 0

    def reach(self, count: int) -> None:
        """Raise the share to `count` bytes. Raises CapacityError (503)."""
        missing = count - self.taken
        if missing > 0:
            self._budget.take(missing)
            self.taken = count
