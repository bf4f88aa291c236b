"""One call of the ACE-Step API: who sends it, and its values, from wherever clients put them.

A key may stand in `Authorization` with or without `Bearer`, in `X-API-Key`, or in the field `ai_token` of the
body. One valid key suffices. A body that may hold the only key is read before the caller is known.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request

from configs.settings import ApiSettings
from serve_app.api.access.callers import Caller, Callers, no_key
from serve_app.api.access.capacity import ClientSlots, Slots
from serve_app.api.intake.body import MAX_TEXT_BYTES, Body, BodyReader, is_multipart
from serve_app.api.release_task.fields import TOKEN

HOW_TO = f"send `Authorization: Bearer KEY`, `X-API-Key: KEY` or a field `{TOKEN}`"


@dataclass(frozen=True)
class Call:
    """The caller, and the body without its key. The query of a GET stands in the place of a body."""

    caller: Caller
    body: Body

    def with_body(self, body: Body) -> "Call":
        """The same caller's call with another body."""
        return replace(self, body=body)

    def value(self, name: str) -> Any:
        """A value by name, of a repeated form field the last one; None where it is not given."""
        return value_in(self.body, name)


class CallReader:
    """Reads calls and identifies who sends them."""

    def __init__(self, callers: Callers, bodies: BodyReader, settings: ApiSettings, slots: Slots) -> None:
        self._callers = callers
        self._bodies = bodies
        self._all_slots = slots
        self._uploads = ClientSlots("uploads", settings.client_uploads, slots)
        self._texts = ClientSlots("submits", settings.client_requests, slots)

    @property
    def need_keys(self) -> bool:
        return self._callers.need_keys

    @asynccontextmanager
    async def read(
        self,
        request: Request,
        admit: Callable[[Caller], Awaitable[None]] | None = None,
        max_text_bytes: int = MAX_TEXT_BYTES,
    ) -> AsyncIterator[Call]:
        """A call. Uploads exist until the end of the block.

        `admit` is given for calls that make jobs: it refuses a caller early, and these calls are limited in
        number for each caller, as are files of unknown senders. Others count among all open requests while
        their body comes in. Raises HTTPException with 400, 401, 408, 413 or 415, or CapacityError.
        """
        async with self.read_anonymous(request, admit, max_text_bytes) as (body, token):
            yield Call(self.caller(request, token), body)

    @asynccontextmanager
    async def read_anonymous(
        self,
        request: Request,
        admit: Callable[[Caller], Awaitable[None]] | None = None,
        max_text_bytes: int = MAX_TEXT_BYTES,
    ) -> AsyncIterator[tuple[Body, Any]]:
        """The body of a call without its key, and the key in the body, before the caller is identified.

        Arguments and errors are those of `read`, except that nothing is refused with 401.
        """
        if request.method in {"GET", "HEAD"}:
            yield Body(dict(request.query_params), is_form=True), None
            return
        known = self._callers.recognise(request, keys_in_headers(request))
        may_have_files = is_multipart(request)
        limited = admit is not None or (may_have_files and known is None)
        slots = self._uploads if may_have_files else self._texts
        name = self._callers.address(request) if known is None else known.client.name
        with slots.taken(name) if limited else self._all_slots.taken():
            if admit is not None and known is not None and may_have_files:
                await admit(known)
            async with self._bodies.read(request, tolerant=True, max_text_bytes=max_text_bytes) as body:
                yield _without_token(body)

    async def authenticated(self, request: Request) -> Caller:
        """The sender of a call whose values do not matter, as a dependency of routes."""
        async with self.read(request) as call:
            return call.caller

    def caller(self, request: Request, *tokens: Any) -> Caller:
        """The sender of a request, by its headers or one of the tokens, which are values as they were sent.

        Raises HTTPException with 401.
        """
        texts = (token for token in tokens if isinstance(token, str) and token.isascii())
        keys = [*keys_in_headers(request), *texts]
        caller = self._callers.recognise(request, keys)
        if caller is None:
            problem = "This API key is unknown" if any(keys) else "An API key is needed"
            raise no_key(f"{problem}: {HOW_TO}")
        return caller


def value_in(body: Body, name: str) -> Any:
    """A value by name, of a repeated form field the last one; None where it is not given."""
    value = body.values.get(name)
    if body.is_form and isinstance(value, list):
        value = value[-1]
    return None if value == "" else value


def keys_in_headers(request: Request) -> Iterator[str]:
    """The keys in the headers of a request, in order of precedence."""
    credentials = request.headers.get("authorization", "").strip()
    scheme, _, key = credentials.partition(" ")
    yield key.strip() if scheme.lower() == "bearer" else credentials
    yield request.headers.get("x-api-key", "").strip()


def _without_token(body: Body) -> tuple[Body, Any]:
    """The body without its key, which must not be logged, stored or compared; and the key."""
    values = dict(body.values)
    token = values.pop(TOKEN, None)
    if isinstance(token, list):
        token = token[-1] if token else None
    return replace(body, values=values), token
