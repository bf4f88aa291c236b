"""Answers that never change, which the edge keeps.

A page of the studio needs some forty files, and each takes Serve and the application several milliseconds.
The addresses of these files have the version of the studio, and their answers say `immutable`, so the edge
sends them itself after the first time.
"""

from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api import request_ids

PATHS = "/studio/"
"""Part of the paths whose answers may be kept."""
MOST_BYTES = 4 << 20
"""Bytes of all bodies that are kept. Beyond that all are forgotten, because most are of earlier versions."""
SPECIAL_HEADERS = ("if-none-match", "if-modified-since", "range", "origin")
"""Headers whose requests the application answers itself, because its answer depends on their values."""


@dataclass(frozen=True)
class _Question:
    path: str
    reads_gzip: bool


@dataclass(frozen=True)
class _Answer:
    start: Message
    body: bytes


class KeptAnswers:
    """An ASGI application before another one, whose answers it keeps."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._answers: dict[_Question, _Answer] = {}
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        question = _question(scope)
        if question is None:
            await self._app(scope, receive, send)
        elif kept := self._answers.get(question):
            await send({**kept.start, "headers": list(kept.start["headers"])})
            await send({"type": "http.response.body", "body": kept.body})
        else:
            recorded = _Recorded(send)
            await self._app(scope, receive, recorded.send)
            if recorded.answer is not None:
                self._keep(question, recorded.answer)

    def _keep(self, question: _Question, answer: _Answer) -> None:
        if question in self._answers:
            return
        if self._bytes + len(answer.body) > MOST_BYTES:
            self._answers.clear()
            self._bytes = 0
        self._answers[question] = answer
        self._bytes += len(answer.body)


class _Recorded:
    """A `send` of ASGI that remembers an answer which never changes."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()
        self.answer: _Answer | None = None
        """The answer, once it was sent as a whole; None if it may change."""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = _kept_start(message)
        elif self._start is not None and message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if len(self._body) > MOST_BYTES:
                self._start = None
            elif not message.get("more_body"):
                self.answer = _Answer(self._start, bytes(self._body))
        await self._send(message)


def _question(scope: Scope) -> _Question | None:
    """Return what the answer to a request depends on; None where it may be another each time."""
    if scope.get("method") != "GET" or PATHS not in scope["path"] or scope.get("query_string"):
        return None
    headers = Headers(scope=scope)
    codings = ",".join(headers.getlist("accept-encoding")).lower()
    if ";" in codings or any(name in headers for name in SPECIAL_HEADERS):
        return None
    return _Question(scope["path"], bool({"gzip", "*"} & {coding.strip() for coding in codings.split(",")}))


def _kept_start(message: Message) -> Message | None:
    """Return the beginning of an answer that never changes, without the id of its request."""
    headers = MutableHeaders(raw=list(message.get("headers", ())))
    words = {word.strip() for word in headers.get("cache-control", "").split(",")}
    if message["status"] != 200 or not {"public", "immutable"} <= words:
        return None
    del headers[request_ids.HEADER]
    return {**message, "headers": headers.raw}
