"""Whatever a body holds, parsing it costs little, and the answer is small."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from serve_app.api.errors import MAX_ERRORS
from serve_app.api.intake.body import (
    BATCH,
    CHAT,
    MAX_JSON_CONTAINERS,
    MAX_JSON_DEPTH,
    MAX_JSON_ENTRIES,
    MAX_TEXT_BYTES,
)
from serve_app.api.intake.multipart import MAX_FIELDS, MAX_FILES, MAX_PART_HEADER_BYTES
from serve_app.request.fields import MAX_CODES, MAX_ENTRIES
from serve_app.request.schemas import MAX_CAPTION_LENGTH, MAX_LYRICS_LENGTH
from tests.unit.api.conftest import LocalJobService

GENERATE = "/v1/music/generate"
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CUT = {"Content-Type": "multipart/form-data; boundary=cut"}
ROOM = MAX_TEXT_BYTES - 1_000
"""Bytes for the interesting part of a body within the limit."""
STALL_SECONDS = 0.15
"""Longest stall in seconds. At most 35 ms were measured on a slow processor."""
TRIES = 3
"""A garbage collection can fall into one try, but the cost of a body is in every try."""
ANSWER_BYTES = 20_000


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share one application."""
    return shared_http


def filled(piece: bytes, separator: bytes = b"") -> bytes:
    """Return as many pieces as fit into a body."""
    return separator.join([piece] * (ROOM // (len(piece) + len(separator))))


def as_json(start: bytes, middle: bytes, end: bytes) -> tuple[dict[str, str], bytes]:
    return JSON, b"{" + start + middle + end + b"}"


def part(headers: bytes, content: bytes) -> bytes:
    return b"--cut\r\n" + headers + b"\r\n\r\n" + content + b"\r\n"


def field_part(name: bytes, content: bytes) -> bytes:
    return part(b'Content-Disposition: form-data; name="' + name + b'"', content)


def most_values(piece: bytes) -> bytes:
    """Return as many values as a JSON body may have."""
    most = MAX_JSON_CONTAINERS if piece.startswith((b"[", b"{")) else MAX_JSON_ENTRIES
    return b",".join([piece] * (most - 10))


NESTED_CODES = b'"audio_code_string": ['
COSTLY: dict[str, tuple[dict[str, str], bytes]] = {
    "lists in codes": as_json(NESTED_CODES, filled(b"[]", b","), b"]"),
    "as many lists as may be": as_json(NESTED_CODES, most_values(b"[]"), b"]"),
    "lists in lists": as_json(NESTED_CODES, filled(b"[[[[1]]]]", b","), b"]"),
    "as many numbers as may be": as_json(NESTED_CODES + b"[", most_values(b"1e307")[:ROOM], b"]]"),
    "numbers as one song": as_json(NESTED_CODES + b"[", most_values(b"1"), b"]]"),
    "objects": as_json(b'"metas": [', most_values(b'{"a": 1}')[:ROOM], b"]"),
    "texts": as_json(b'"caption": [', filled(b'""', b","), b"]"),
    "codes in a text": as_json(b'"thinking": true, "audio_code_string": "', filled(b"1", b","), b'"'),
    "codes in runs": as_json(b'"thinking": true, "audio_code_string": "', filled(b"<|audio_code_1|>"), b'"'),
    "almost codes": as_json(b'"thinking": true, "audio_code_string": "1', b" " * ROOM, b'x"'),
    "brackets": (JSON, b"[" * MAX_TEXT_BYTES),
    "brackets in a text": as_json(b'"metas": "', b"[" * ROOM, b'"'),
    "quotes": (JSON, b'"' * MAX_TEXT_BYTES),
    "escapes": as_json(b'"caption": "', filled(b"\\n"), b'"'),
    "long integers": as_json(b'"bpm": [', filled(b"9" * 4_300, b","), b"]"),
    "one long integer": as_json(b'"bpm": ', b"9" * ROOM, b""),
    "one long number": as_json(b'"guidance_scale": 31.', b"9" * ROOM, b""),
    "a long number as a text": as_json(b'"bpm": "', b"9" * ROOM, b'"'),
    "blanks": as_json(b'"key_scale": "', b" " * ROOM, b'"'),
    "unknown names": (JSON, json.dumps({f"x{i}": 0 for i in range(80_000)}).encode()),
    "unknown names among metas": (JSON, json.dumps({"metas": {f"x{i}": 0 for i in range(80_000)}}).encode()),
    "a long unknown name": as_json(b'"', b"x" * ROOM, b'": 1'),
    "a form of escapes": (FORM, b"caption=" + filled(b"%41")),
    "a form of escapes and letters": (FORM, b"caption=" + filled("%41é".encode())),
    "a form of ampersands": (FORM, b"&" * MAX_TEXT_BYTES),
    "a form of arrays": (FORM, b"audio_codes=" + filled(b"[]", b"&audio_codes=")[: ROOM - 20]),
    "a form of numbers": (FORM, b"audio_codes=[" + filled(b"1", b",") + b"]"),
    "a form of deep arrays": (FORM, b"metas=" + b"[" * ROOM),
    "parts": (CUT, filled(field_part(b"a", b"")) + b"--cut--\r\n"),
    "a part of codes": (CUT, field_part(b"audio_codes", filled(b"1", b",")) + b"--cut--\r\n"),
    "part headers": (CUT, filled(part(b"X: 1\r\n" * 7 + b'Content-Disposition: form-data; name="a"', b""))),
    "a part's name": (CUT, field_part(b"x" * (MAX_PART_HEADER_BYTES + 1), b"") + b"--cut--\r\n"),
    "quotes in a part's header": (CUT, part(b"Content-Disposition: form-data; " + b'";' * 16_000, b"")),
    "an encoding that takes long": (
        {"Content-Type": "multipart/form-data; boundary=cut; charset=punycode"},
        field_part(b"caption", filled(b"a9")) + b"--cut--\r\n",
    ),
    "boundaries": (CUT, filled(b"\r\n--cu")),
}  # fmt: skip


async def longest_stall(work: Callable[[], Any]) -> float:
    """Return the most processor seconds of this process between two turns of the event loop.

    All threads count, because a call into C that keeps the interpreter's lock also holds up the loop. Other
    processes do not count.
    """
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        last = time.process_time()
        while True:
            await asyncio.sleep(0)
            now = time.process_time()
            longest = max(longest, now - last)
            last = now

    beating = asyncio.create_task(beat())
    try:
        await work()
    finally:
        beating.cancel()
    return longest


@pytest.mark.parametrize("name", COSTLY)
async def test_no_body_holds_up_the_others(http: httpx.AsyncClient, name: str) -> None:
    headers, content = COSTLY[name]
    assert len(content) <= MAX_TEXT_BYTES

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 65_536):
            yield content[start : start + 65_536]

    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await http.post(GENERATE, content=pieces(), headers={**headers, "X-Strict": "1"}))

    stalls: list[float] = []
    while len(stalls) < TRIES and min(stalls, default=STALL_SECONDS) >= STALL_SECONDS:
        stalls.append(await longest_stall(ask))
    for answer in answers:
        assert 400 <= answer.status_code < 500, answer.text[:200]
        assert answer.json()["detail"]
        assert len(answer.content) < ANSWER_BYTES
    assert min(stalls) < STALL_SECONDS, stalls


@pytest.mark.parametrize(
    ("headers", "start", "end"),
    [
        (JSON, b'{"caption": "', b'"}'),
        (FORM, b"caption=", b""),
        (CUT, b'--cut\r\nContent-Disposition: form-data; name="caption"\r\n\r\n', b"\r\n--cut--\r\n"),
        (CUT, b'--cut\r\nContent-Disposition: form-data; name="caption"\r\n\r\n\r\n--cut--\r\n', b""),
    ],
)
async def test_texts_have_one_limit_in_every_content_type(
    http: httpx.AsyncClient, headers: dict[str, str], start: bytes, end: bytes
) -> None:
    for size in (MAX_TEXT_BYTES, MAX_TEXT_BYTES + 1):
        content = start + b"x" * (size - len(start) - len(end)) + end
        answer = await http.post(GENERATE, content=content, headers=headers)
        assert (answer.status_code == 413) == (size > MAX_TEXT_BYTES), answer.text
    assert f"{MAX_TEXT_BYTES:,}" in answer.json()["detail"]


def nested(levels: int) -> str:
    """Return an object with as many levels as are asked for (two at least), of arrays and objects."""
    inner = "[]"
    for level in range(levels - 2):
        inner = f'{{"x": {inner}}}' if level % 2 else f"[{inner}]"
    return f'{{"model": {inner}}}'


READERS = {
    GENERATE: 422,  # the model has to be a text
    "/v1/music/sample": 422,
    BATCH: 422,
    "/release_task": 200,
    "/query_result": 200,
    "/format_input": 200,
    "/v1/create_sample": 200,
    "/v1/init": 422,
    "/mcp": 400,
    CHAT: 400,
}
"""Routes that read JSON, and their answers to an object with the name `model` alone."""


@pytest.mark.parametrize("path", READERS)
async def test_json_may_be_nested_so_deep(
    http: httpx.AsyncClient, service: LocalJobService, path: str
) -> None:
    for levels in (MAX_JSON_DEPTH, MAX_JSON_DEPTH + 1, MAX_JSON_CONTAINERS - 1, 2):
        before = len(service.jobs)
        answer = await http.post(path, content=nested(levels), headers=JSON)
        if levels > MAX_JSON_DEPTH:
            assert (answer.status_code, "nested too deeply" in answer.text) == (400, True)
            assert len(service.jobs) == before
        elif path != "/mcp":  # Its own part of the server answers, which does not run here.
            assert answer.status_code == READERS[path], answer.text


async def test_the_innermost_level_may_hold_something(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    inside = MAX_JSON_DEPTH - 1
    body = b'{"caption": "a song", "unknown": ' + b"[" * inside + b"1" + b"]" * inside + b"}"
    assert (await http.post(GENERATE, content=body, headers=JSON)).status_code == 200
    assert service.last.request.caption == "a song"


async def test_files_do_not_count_as_text(http: httpx.AsyncClient) -> None:
    answer = await http.post(GENERATE, files={"src_audio": ("a.wav", b"\0" * 2 * MAX_TEXT_BYTES)})
    assert answer.status_code == 422
    assert "src_audio" in answer.text


def the_longest_request() -> dict[str, Any]:
    """Return a request with every text at its limit, in wide characters, and codes of ten minutes a song."""
    texts = {
        "lyrics": MAX_LYRICS_LENGTH,
        **dict.fromkeys(("caption", "instruction", "lm_negative_prompt"), MAX_CAPTION_LENGTH),
    }
    codes = "".join(f"<|audio_code_{code}|>" for code in range(60_000, 63_000))
    return {
        **{name: "🎵" * length for name, length in texts.items()},
        "audio_code_string": [codes] * 8,
        "batch_size": 8,
        "thinking": True,
        "audio_duration": 20,
        "callback_url": "https://example.com/" + "x" * 2_000,
    }


@pytest.mark.parametrize("content_type", ["json", "data", "files"])
async def test_the_longest_request_fits(
    http: httpx.AsyncClient, service: LocalJobService, content_type: str
) -> None:
    request = the_longest_request()
    if content_type == "files":
        codes = [("audio_code_string", text) for text in request.pop("audio_code_string")]
        sent: dict[str, Any] = {
            "files": [(name, (None, str(text))) for name, text in (*request.items(), *codes)]
        }
    else:
        sent = {content_type: request}
    answer = await http.post(GENERATE, **sent)
    assert answer.status_code == 200, answer.text
    assert len(service.last.codes) == 8


TOO_MANY_CODES = [",".join(["1"] * (MAX_CODES + 1)), [[1] * (MAX_CODES + 1)], ["1"] * (MAX_ENTRIES + 1)]


@pytest.mark.parametrize("codes", TOO_MANY_CODES, ids=["a text", "an array", "entries"])
async def test_codes_are_counted_before_they_are_read(http: httpx.AsyncClient, codes: Any) -> None:
    answer = await http.post(GENERATE, json={"audio_code_string": codes})
    assert answer.status_code == 422
    (error,) = answer.json()["detail"]
    assert error["loc"] == ["body", "audio_code_string"]
    assert "at most" in error["msg"]


async def test_an_answer_names_the_first_errors_and_counts_the_others(http: httpx.AsyncClient) -> None:
    for unknown in (MAX_ERRORS, MAX_ERRORS + 1, 5_000):
        body = {f"name{i}": i for i in range(unknown)}
        answer = await http.post(GENERATE, json=body, headers={"X-Strict": "1"})
        assert answer.status_code == 422
        *named, last = answer.json()["detail"]
        assert len(named) == MAX_ERRORS - 1
        assert [error["loc"] for error in named] == [["body", f"name{i}"] for i in range(MAX_ERRORS - 1)]
        if unknown > MAX_ERRORS:
            assert last == {
                "loc": ["body"],
                "msg": f"There are {unknown - MAX_ERRORS + 1:,} more errors",
                "type": "more_errors",
            }


async def test_names_come_back_cut(http: httpx.AsyncClient) -> None:
    answer = await http.post(GENERATE, json={"x" * 100_000: 1}, headers={"X-Strict": "1"})
    (error,) = answer.json()["detail"]
    assert error["loc"] == ["body", "x" * 100 + "…"]


def multipart(*parts: bytes) -> dict[str, Any]:
    return {"content": b"".join(parts) + b"--cut--\r\n", "headers": CUT}


def file_part(file_name: bytes) -> bytes:
    return part(b'Content-Disposition: form-data; name="src_audio"; filename="' + file_name + b'"', b"")


def under(content_type: str) -> dict[str, Any]:
    return {**multipart(field_part(b"a", b"")), "headers": {"Content-Type": content_type}}


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (multipart(*[field_part(b"a", b"")] * (MAX_FIELDS + 1)), f"{MAX_FIELDS} fields"),
        (multipart(*[file_part(b"a")] * (MAX_FILES + 1)), f"{MAX_FILES} files"),
        (multipart(part(b"X: 1\r\n" * 8 + b'Content-Disposition: form-data; name="a"', b"")), "malformed"),
        (multipart(file_part(b"x" * MAX_PART_HEADER_BYTES)), "file name"),
        (under("multipart/form-data"), "boundary"),
        (under("multipart/form-data; boundary=" + "x" * 300), "boundary"),
        (under("multipart/form-data; boundary=cut; charset=punycode"), "UTF-8"),
    ],
    ids=["fields", "files", "headers", "a file name", "no boundary", "a long boundary", "a charset"],
)
async def test_parts_that_cannot_be(http: httpx.AsyncClient, sent: dict[str, Any], says: str) -> None:
    answer = await http.post(GENERATE, **sent)
    assert answer.status_code == 400
    assert says in answer.json()["detail"]
