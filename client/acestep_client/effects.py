"""Flows: what the client does, as generators that ask for effects and leave it to others to perform them.

A flow holds the logic of one call, such as the repetition of a request or the reconnection of an event
stream. `Client` performs its effects with `httpx.Client` and `AsyncClient` with `httpx.AsyncClient`, so that
neither of the two repeats any logic.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    import httpx

    from acestep_client.uploads import Recording

READ_SECONDS = 60.0
"""The longest silence of the server while an answer is read."""


@dataclass(frozen=True)
class Request:
    """An HTTP request. It can be sent several times."""

    method: str
    path: str
    """Path below the server's address, beginning with a slash."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    """The JSON body; None without one."""
    form: Mapping[str, str] = field(default_factory=dict)
    """The texts of a multipart body."""
    files: Mapping[str, Recording] = field(default_factory=dict)
    """The files of a multipart body."""
    read_seconds: float = READ_SECONDS


@dataclass(frozen=True)
class Send:
    """Sends a request. The answer is an `httpx.Response` that has been read."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Sends a request. The answer is a `Stream`; an error has been read, the rest is read by `Next`."""

    request: Request
    has_events: bool
    """Whether the body is read as Server-Sent Events, and else in pieces of bytes."""


@dataclass(frozen=True)
class Stream:
    """An answer whose body is being read."""

    response: httpx.Response
    parts: Any
    """An iterator, or an asynchronous one, over events (`httpx_sse.ServerSentEvent`) or over bytes."""


@dataclass(frozen=True)
class Next:
    """Reads on. The answer is an event or bytes; None at the end."""

    stream: Stream


@dataclass(frozen=True)
class Sleep:
    """Waits."""

    seconds: float


@dataclass(frozen=True)
class Tell:
    """Calls a function of the user with a value, and awaits the result where that is possible and needed."""

    listener: Callable[[Any], Any]
    value: Any


@dataclass(frozen=True)
class Emit:
    """Gives a value to the user's loop."""

    value: Any


Effect: TypeAlias = Send | Open | Next | Sleep | Tell | Emit

Result = TypeVar("Result")

Flow: TypeAlias = Generator[Effect, Any, Result]
"""A generator of effects. It is sent what became of each, and returns the result of the call.

`httpx.TransportError` is raised in it where a request could not be sent or an answer not be read.
"""


class Course(Generic[Result]):
    """A flow under way."""

    result: Result
    """The result, at the end."""

    def __init__(self, flow: Flow[Result]) -> None:
        self._flow = flow
        self._go_on: Callable[[], Effect] = lambda: next(flow)

    def next_effect(self) -> Effect | None:
        """Return the next effect to perform; None at the end. Raises what the flow raises."""
        try:
            return self._go_on()
        except StopIteration as end:
            self.result = end.value
            return None

    def answer(self, value: Any) -> None:
        """Say what became of the effect."""
        self._go_on = lambda: self._flow.send(value)

    def fail(self, error: Exception) -> None:
        """Say that the effect failed."""
        self._go_on = lambda: self._flow.throw(error)

    def close(self) -> None:
        """End the flow where it is, so that it tidies up."""
        self._flow.close()
