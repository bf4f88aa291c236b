"""The order in which a proxy begins to work on requests.

A request costs Serve's proxy and the API some milliseconds until its answer begins. Where a thousand clients
connect at once, everything else would wait for seconds until all of these have begun. So only a few requests
are begun at a time, and the others wait here, where they cost nothing. Addresses take turns: a client that
connects once does not wait for one that connects a hundred times.
"""

import asyncio
from collections import deque

AT_ONCE = 8
"""How many requests may have begun without an answer that has begun. Together they take about 20 ms."""
HOLD_SECONDS = 0.1
"""How long a request that waits on purpose (a long poll, a submit) counts among them."""
STUCK_SECONDS = 1.0
"""How long any other request counts among them, so that those which get no answer block nothing."""


class Entrance:
    """Lets requests in, `AT_ONCE` at a time."""

    def __init__(self) -> None:
        self._free = AT_ONCE
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """The requests that wait, by address. The first address is the next one."""

    async def enter(self, address: str) -> None:
        """Wait until a request of this address may begin. Each call needs one `leave` afterwards."""
        if self._free and not self._waiting:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(address, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Let the next request in."""
        self._free += 1
        while self._free and self._waiting:
            address = next(iter(self._waiting))
            turns = self._waiting.pop(address)
            turn = turns.popleft()
            if turns:
                self._waiting[address] = turns  # behind all other addresses
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
