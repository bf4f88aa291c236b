"""Reading of request bodies: from bytes to raw values by name, and uploaded files.

All limits are enforced while the body streams in. Uploads are spooled to anonymous temporary files, which are
deleted at the end of the `BodyReader.read` block.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NoReturn
from urllib.parse import parse_qsl

from fastapi import HTTPException, Request
from fastapi.requests import HTTPConnection

from configs.settings import ApiSettings
from deployments.common.temporary_files import temporary_files
from serve_app.api.access.capacity import ByteBudget, ByteShare
from serve_app.api.intake.multipart import MAX_FIELDS, MultipartError, MultipartReader, TextTooLargeError
from serve_app.api.threads import WorkerPool

JSON = "application/json"
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

MAX_TEXT_BYTES = 1 << 20
"""Bytes of a body without the content of files, in every content type."""
CHAT = "/v1/chat/completions"
MAX_CHAT_BYTES = 64_000_000
"""Bytes of a chat completion's body, which may hold recordings in base64 and is parsed in memory."""
BATCH = "/v1/music/batch"
MAX_BATCH_BYTES = 4 << 20
"""Bytes of the body of a batch."""
MAX_BATCH_CONTAINERS = 4_000
"""Arrays and objects of a batch. Its parser takes up to a tenth of a second."""
MAX_JSON_ENTRIES = 1 << 17
MAX_JSON_CONTAINERS = 1_000
"""Commas and opening brackets outside the strings of a JSON document. They bound the time of the parser,
which cannot be interrupted, and of the garbage collector, which many arrays trigger, to 35 ms together."""
MAX_JSON_DEPTH = 100
"""Arrays and objects inside each other. Deeper values would end Python's recursion somewhere else."""
MAX_JSON_QUOTES = 10_000
"""With more quotes, commas and brackets in strings count too, because finding the strings would take long."""
UPLOADS_AT_ONCE = 8
"""Default of `api.uploads_bytes`, in bodies of the largest size."""

_JSON_TEXT = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


@dataclass(frozen=True)
class Body:
    """The content of a request body before its names and values are interpreted."""

    values: dict[str, Any] = field(default_factory=dict)
    """Values by name as sent. In a form each is a text, or a list of texts where the name is repeated."""
    files: dict[str, BinaryIO] = field(default_factory=dict)
    """Uploads by name as sent."""
    is_form: bool = False
    text_bytes: int = 0
    """Bytes without the content of files."""


def is_multipart(request: HTTPConnection) -> bool:
    """Whether the body may contain files according to its headers."""
    return _content_type(request) == MULTIPART


def check_declared_text(request: HTTPConnection) -> None:
    """Raise HTTPException with 413 where the headers declare a body without files that is too large."""
    if not is_multipart(request):
        path = request.scope["path"].rstrip("/")
        larger = {CHAT: MAX_CHAT_BYTES, BATCH: MAX_BATCH_BYTES}
        largest = (size for end, size in larger.items() if path.endswith(end))
        _check_declared(request, next(largest, MAX_TEXT_BYTES))


class BodyReader:
    """Reads bodies of the three content types."""

    def __init__(self, settings: ApiSettings, pool: WorkerPool) -> None:
        """`pool` runs the parsers."""
        self._max_bytes = settings.max_upload_bytes
        self._timeout_seconds = settings.body_timeout_seconds
        self._budget = ByteBudget(settings.uploads_bytes or UPLOADS_AT_ONCE * settings.max_upload_bytes)
        self._pool = pool

    @asynccontextmanager
    async def read(
        self,
        request: Request,
        tolerant: bool = False,
        max_text_bytes: int = MAX_TEXT_BYTES,
        max_containers: int = MAX_JSON_CONTAINERS,
    ) -> AsyncIterator[Body]:
        """The body of a request.

        Where `tolerant`, an empty body is an empty object, and `a=b` of any other type is a form.
        `max_text_bytes` bounds bodies without files, and `max_containers` the arrays and objects of JSON.

        Raises HTTPException with 400, 408, 413 or 415, CapacityError, or StorageError where there is no disk
        space for uploads.
        """
        with self._budget.share() as share:
            if tolerant and request.headers.get("content-length") == "0":
                yield Body()
            elif is_multipart(request):
                async with self._multipart(request, share) as body:
                    yield body
            else:
                async with _time_limit(self._timeout_seconds):
                    chunks = _limited(request, min(self._max_bytes, max_text_bytes), share)
                    data = b"".join([chunk async for chunk in chunks])
                yield await self._pool.run_unless_short(
                    len(data), _text_body, _content_type(request), data, tolerant, max_containers
                )

    @asynccontextmanager
    async def _multipart(self, request: Request, share: ByteShare) -> AsyncIterator[Body]:
        try:
            reader = MultipartReader(request.headers["content-type"], MAX_TEXT_BYTES)
        except MultipartError as error:
            raise HTTPException(400, str(error)) from error
        try:
            async with _time_limit(self._timeout_seconds):
                with temporary_files():
                    async for chunk in _limited(request, self._max_bytes, share):
                        await self._pool.run_unless_short(len(chunk), reader.write, chunk)
            texts, files = reader.finish()
            yield Body(_grouped(texts), files, is_form=True, text_bytes=reader.text_bytes)
        except MultipartError as error:
            raise HTTPException(400, str(error)) from error
        except TextTooLargeError:
            _refuse_size("The text of the request body", MAX_TEXT_BYTES)
        finally:
            reader.close()


def _content_type(request: HTTPConnection) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


@asynccontextmanager
async def _time_limit(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        message = f"The request body was not sent within {seconds:g} seconds"
        raise HTTPException(408, message, {"Connection": "close"}) from error


async def _limited(request: Request, max_bytes: int, share: ByteShare) -> AsyncGenerator[bytes, None]:
    """The chunks of a body.

    Only what has come is taken from the budget, so that who sends nothing holds nothing. A body that would
    not fit at the moment is refused before it is received.
    """
    share.check(_check_declared(request, max_bytes))
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            _refuse_size("The request body", max_bytes)
        share.reach(received)
        yield chunk


def _check_declared(request: HTTPConnection, max_bytes: int) -> int:
    """The length of the body according to its headers, or 0. Raises HTTPException with 413."""
    declared = request.headers.get("content-length", "")
    if not re.fullmatch("[0-9]{1,20}", declared):
        return 0
    if int(declared) > max_bytes:
        _refuse_size("The request body", max_bytes)
    return int(declared)


def _refuse_size(what: str, max_bytes: int) -> NoReturn:
    raise HTTPException(413, f"{what} is larger than {max_bytes:,} bytes")


def is_of_known_type(request: Request) -> bool:
    """Whether the body's content type is one of the three."""
    content_type = _content_type(request)
    return _is_json(content_type) or content_type in {URLENCODED, MULTIPART}


def unsupported_type() -> HTTPException:
    """The refusal (415) of a body of another type."""
    return HTTPException(
        415, f"The body must be {JSON}, {MULTIPART} or {URLENCODED}, and its Content-Type must say which"
    )


def _is_json(content_type: str) -> bool:
    return content_type == JSON or (
        content_type.startswith("application/") and content_type.endswith("+json")
    )


def _text_body(content_type: str, data: bytes, tolerant: bool, max_containers: int) -> Body:
    if tolerant and not data.strip():
        return Body()
    if _is_json(content_type) or data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return Body(_json_object(data, max_containers), text_bytes=len(data))
    if content_type == URLENCODED or (tolerant and b"=" in data):
        return Body(_grouped(_urlencoded_pairs(data)), is_form=True, text_bytes=len(data))
    raise unsupported_type()


def _urlencoded_pairs(data: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(data.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise HTTPException(400, f"The form is not UTF-8 or has more than {MAX_FIELDS} fields") from error


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    grouped: dict[str, Any] = {}
    for name, text in pairs:
        if name in grouped:
            before = grouped[name]
            grouped[name] = [*before, text] if isinstance(before, list) else [before, text]
        else:
            grouped[name] = text
    return grouped


class TooManyEntriesError(ValueError):
    """A JSON document has more arrays, objects or entries than the limits."""


def bounded_json(document: str, max_containers: int = MAX_JSON_CONTAINERS) -> Any:
    """The value of a JSON document.

    Raises TooManyEntriesError, JSONDecodeError, ValueError for an invalid number, or RecursionError for more
    than `MAX_JSON_DEPTH` levels.
    """
    # A batch has as many quotes as requests of the usual size have together.
    max_quotes = MAX_JSON_QUOTES * max_containers // MAX_JSON_CONTAINERS
    if _has_too_many_entries(document, max_containers) and (
        document.count('"') > max_quotes
        or _has_too_many_entries(_JSON_TEXT.sub("", document), max_containers)
    ):
        raise TooManyEntriesError
    value = json.loads(document, parse_constant=_refuse_constant)
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _entries(outer)]
    if any(isinstance(inner, dict | list) for inner in level):
        raise RecursionError
    return value


def _entries(container: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


def _has_too_many_entries(document: str, max_containers: int) -> bool:
    containers = document.count("[") + document.count("{")
    return containers > max_containers or document.count(",") > MAX_JSON_ENTRIES


def _json_object(data: bytes, max_containers: int) -> dict[str, Any]:
    try:
        value = bounded_json(data.decode("utf-8-sig"), max_containers)
    except json.JSONDecodeError as error:
        raise HTTPException(
            400, f"The body is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from error
    except UnicodeDecodeError as error:
        raise HTTPException(400, "The body is not valid JSON: it is not UTF-8") from error
    except RecursionError as error:
        raise HTTPException(400, "The body is not valid JSON: it is nested too deeply") from error
    except TooManyEntriesError as error:
        raise HTTPException(
            400,
            f"The JSON body has more than {max_containers:,} arrays and objects, "
            f"or {MAX_JSON_ENTRIES:,} entries",
        ) from error
    except ValueError as error:
        raise HTTPException(400, "The body is not valid JSON: a number is out of all bounds") from error
    if not isinstance(value, dict):
        raise HTTPException(400, "The body must be one JSON object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
