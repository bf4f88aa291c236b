"""The adapters that clients of the ACE-Step API have loaded for themselves (`/v1/lora/*`).

The tracker keeps them, because all replicas of the API must know the same, and stores them, because a client
that has loaded an adapter does not expect songs without it.
"""

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

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
_as_json = TypeAdapter(LoadedAdapters)


def note_of(loaded: LoadedAdapters) -> str | None:
    """The text under which the store keeps the adapters of a client; None where there are none."""
    return None if loaded == NOTHING_LOADED else _as_json.dump_json(loaded).decode()


class AdaptersOfClients:
    """The adapters that each client has loaded."""

    def __init__(self, notes: Mapping[str, str] | None = None) -> None:
        """Begin with the notes of the store. A note that this release cannot read counts as none."""
        self._loaded: OrderedDict[str, LoadedAdapters] = OrderedDict()
        for client, note in (notes or {}).items():
            with suppress(ValidationError):
                self._loaded[client] = _as_json.validate_json(note)

    def of(self, client: str) -> LoadedAdapters:
        """The adapters of a client."""
        if client in self._loaded:
            self._loaded.move_to_end(client)
        return self._loaded.get(client, NOTHING_LOADED)

    def keep(self, client: str, loaded: LoadedAdapters) -> list[str]:
        """Replace the adapters of a client. Return the clients whose adapters are forgotten for it."""
        self._loaded.pop(client, None)
        if loaded != NOTHING_LOADED:
            self._loaded[client] = loaded
        forgotten = []
        while len(self._loaded) > MAX_CLIENTS:
            forgotten.append(self._loaded.popitem(last=False)[0])
        return forgotten
