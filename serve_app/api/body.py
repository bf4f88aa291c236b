"""From the bytes of a request to raw values by name, and uploaded files.

The size limit holds while the body streams in. Files are spooled to anonymous temporary files, which vanish
when `read_body` ends.
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
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from deployments.temporary_files import temporary_files

JSON = "application/json"
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

MAX_TEXT_BYTES = 8 << 20
"""Of a body without files, far more than the longest valid one: such a body is parsed in memory at once."""
MAX_FIELDS = 256
MAX_FILES = 8


@dataclass(frozen=True)
class Body:
    """What a request carries, before its names and values are understood."""

    values: dict[str, Any] = field(default_factory=dict)
    """By name as sent; of a form, a text or (repeated) a list of texts."""
    files: dict[str, BinaryIO] = field(default_factory=dict)
    """Uploads by name as sent."""
    is_form: bool = False


@asynccontextmanager
async def read_body(request: Request, max_bytes: int, timeout_seconds: float) -> AsyncIterator[Body]:
    """Read a body in any of the three content types.

    Raises HTTPException with 400, 408, 413 or 415, and StorageError where uploads find no room.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == MULTIPART:
        parser = _Parser(
            request.headers, _limited(request, max_bytes), max_files=MAX_FILES, max_fields=MAX_FIELDS
        )
        try:
            async with _time_limit(timeout_seconds):
                with temporary_files():
                    form = await parser.parse()
        except (MultiPartException, ValueError) as error:  # ValueError: an odd `charset`
            raise HTTPException(400, "The multipart body is malformed") from error
        try:
            if not parser.complete:
                raise HTTPException(400, "The multipart body ends before its closing boundary")
            yield _multipart_body(form.multi_items())
        finally:
            await form.close()
    else:
        async with _time_limit(timeout_seconds):
            chunks = [chunk async for chunk in _limited(request, min(max_bytes, MAX_TEXT_BYTES))]
        yield _text_body(content_type, b"".join(chunks))


@asynccontextmanager
async def _time_limit(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        message = f"The request body was not sent within {seconds:g} seconds"
        raise HTTPException(408, message, {"Connection": "close"}) from error


async def _limited(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    declared = request.headers.get("content-length", "")
    if re.fullmatch("[0-9]{1,20}", declared) and int(declared) > max_bytes:
        _refuse_size(max_bytes)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            _refuse_size(max_bytes)
        yield chunk


def _refuse_size(max_bytes: int) -> NoReturn:
    raise HTTPException(413, f"The request body is larger than {max_bytes:,} bytes")


class _Parser(MultiPartParser):
    """Knows whether the closing boundary was seen: the base class takes a cut body for a whole one."""

    complete = False

    def on_end(self) -> None:
        self.complete = True


def _multipart_body(items: Iterable[tuple[str, str | UploadFile]]) -> Body:
    texts: list[tuple[str, str]] = []
    files: dict[str, BinaryIO] = {}
    for name, item in items:
        if isinstance(item, str):
            texts.append((name, item))
        elif item.filename or item.size:  # browsers send an unchosen file without name and content
            files[name] = item.file
    return Body(_grouped(texts), files, is_form=True)


def _text_body(content_type: str, data: bytes) -> Body:
    is_json = content_type == JSON or (
        content_type.startswith("application/") and content_type.endswith("+json")
    )
    if is_json or data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return Body(_json_object(data))
    if content_type == URLENCODED:
        return Body(_grouped(_urlencoded_pairs(data)), is_form=True)
    raise HTTPException(
        415, f"The body must be {JSON}, {MULTIPART} or {URLENCODED}, and its Content-Type must say which"
    )


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


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise HTTPException(
            400, f"The body is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from error
    except UnicodeDecodeError as error:
        raise HTTPException(400, "The body is not valid JSON: it is not UTF-8") from error
    except RecursionError as error:
        raise HTTPException(400, "The body is not valid JSON: it is nested too deeply") from error
    except ValueError as error:
        raise HTTPException(400, "The body is not valid JSON: a number is out of all bounds") from error
    if not isinstance(value, dict):
        raise HTTPException(400, "The body must be one JSON object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
