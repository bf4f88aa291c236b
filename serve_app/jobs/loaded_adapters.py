"""The adapters that clients of the ACE-Step API have loaded for themselves (`/v1/lora/*`).

The tracker keeps them, because all replicas of the API must know the same. They are in memory only: after a
restart of the tracker a client loads its adapters again.
"""

from collections import OrderedDict
from dataclasses import dataclass

MAX_CLIENTS = 10_000
"""Clients whose adapters are kept; of more the least recently active are forgotten."""


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter under the name that the client gave it."""

    label: str
    name: str
    """The server's name of it."""
    scale: float = 1.0


@dataclass(frozen=True)
class LoadedAdapters:
    """The adapters of one client."""

    adapters: tuple[LoadedAdapter, ...] = ()
    active: str | None = None
    """The label of the one that its jobs use."""
    is_on: bool = True
    """Whether its jobs use it at all."""


NOTHING_LOADED = LoadedAdapters()


class AdaptersOfClients:
    """The adapters that each client has loaded."""

    def __init__(self) -> None:
        self._loaded: OrderedDict[str, LoadedAdapters] = OrderedDict()

    def of(self, client: str) -> LoadedAdapters:
        """The adapters of a client."""
        if client in self._loaded:
            self._loaded.move_to_end(client)
        return self._loaded.get(client, NOTHING_LOADED)

    def keep(self, client: str, loaded: LoadedAdapters) -> None:
        """Replace the adapters of a client."""
        self._loaded.pop(client, None)
        if loaded != NOTHING_LOADED:
            self._loaded[client] = loaded
        while len(self._loaded) > MAX_CLIENTS:
            self._loaded.popitem(last=False)
