"""ASGI middleware: checks on headers, host and origin before a request is read, and response headers."""

import re
from collections.abc import Sequence

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.errors import Problem
from serve_app.api.refusals import refusal

MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 << 10
READING = {"GET", "HEAD", "OPTIONS"}
EXPOSED = (
    "Content-Disposition, Content-Range, ETag, Preference-Applied, RateLimit, RateLimit-Policy, Retry-After, "
    "X-Request-ID"
)
"""The response headers that pages of allowed origins may read; CORSMiddleware names them to all pages."""
_ANY_PORT = "(:[0-9]{1,5})?"


def add_guard(app: FastAPI, cors_origins: Sequence[str], hosts: Sequence[str]) -> None:
    """Let only pages of the given origins and the server's own pages use the API from a browser."""
    origins = origin_pattern(cors_origins)
    app.add_middleware(Guard, origins=origins, hosts=hosts)
    if cors_origins:
        # `allow_credentials` is not set, because keys are sent in headers that browsers do not add by
        # themselves.
        app.add_middleware(
            CORSMiddleware,
            allow_origin_regex=origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE", "OPTIONS"],
            allow_headers=["*"],
        )


def origin_pattern(origins: Sequence[str]) -> str:
    """A regular expression for the named origins; `:*` stands for any port. Without origins none matches."""
    patterns = (
        re.escape(origin.removesuffix(":*")) + _ANY_PORT * origin.endswith(":*") for origin in origins
    )
    return "|".join(patterns) or "(?!)"


class Guard:
    """Limits headers, and protects against DNS rebinding and cross-site requests."""

    def __init__(self, app: ASGIApp, origins: str, hosts: Sequence[str]) -> None:
        """`origins` is a regular expression."""
        self._app = app
        self._origins = re.compile(origins)
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        from_page = self._origins.fullmatch(Headers(scope=scope).get("origin", ""))

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                if from_page:
                    headers["Access-Control-Expose-Headers"] = EXPOSED
            await send(message)

        size = sum(len(name) + len(value) for name, value in scope["headers"])
        if len(scope["headers"]) > MAX_HEADERS or size > MAX_HEADER_BYTES:
            detail = f"The headers are more than {MAX_HEADERS} or larger than {MAX_HEADER_BYTES:,} bytes"
            await refusal(scope["path"], Problem(431, detail))(scope, receive, answer)
        elif self._hosts and _host_name(Headers(scope=scope)) not in self._hosts:
            detail = "This server has other names; `api.hosts` lists those that it answers to"
            await refusal(scope["path"], Problem(421, detail))(scope, receive, answer)
        elif scope["method"] not in READING and not self._welcome(Headers(scope=scope)):
            detail = "Pages of this origin may not use the server; `api.cors_origins` names those that may"
            await refusal(scope["path"], Problem(403, detail))(scope, receive, answer)
        else:
            await self._app(scope, receive, answer)

    def _welcome(self, headers: Headers) -> bool:
        # Browsers send forms and plain text to any server without a preflight, but with the page's origin.
        origin = headers.get("origin")
        if origin is None or origin.partition("://")[2] == headers.get("host"):
            return True
        return self._origins.fullmatch(origin) is not None


def _host_name(headers: Headers) -> str:
    """The Host header without the port."""
    return re.sub(r":[0-9]*$", "", headers.get("host", "")).lower()
