"""A reverse proxy as operators put it before the server: with TLS, under a path prefix, or interrupted."""

import asyncio
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
import trustme
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.ports import free_port

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
METHODS = ["GET", "HEAD", "POST", "DELETE"]


class ReverseProxy:
    """It can be cut off, so that nobody listens at its address, and mended."""

    def __init__(self, backend: str, prefix: str, tls: bool) -> None:
        self._backend = backend
        self._prefix = prefix
        self._port = free_port()
        self._authority = trustme.CA() if tls else None
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._port}{prefix}"

    def mend(self) -> None:
        """Begin to listen."""
        # One client for all requests, because each new one reads the system's certificates.
        self._client = httpx.AsyncClient(
            base_url=self._backend, timeout=None, limits=httpx.Limits(max_connections=None)
        )
        config = uvicorn.Config(
            Starlette(routes=[Route(self._prefix + "/{path:path}", self._passed_on, methods=METHODS)]),
            port=self._port,
            log_level="error",
            timeout_graceful_shutdown=0,
        )
        config.load()
        if self._authority:
            config.ssl = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._authority.issue_cert("127.0.0.1").configure_cert(config.ssl)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the proxy did not start"
            time.sleep(0.01)

    def cut(self) -> None:
        """End all connections and stop listening."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()

    async def _serve(self) -> None:
        await self._server.serve()
        # uvicorn leaves connections open on which a request is answered, and clients would wait for the rest.
        for connection in tuple(self._server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0.01)

    async def _passed_on(self, request: Request) -> Response:
        scheme = "https" if self._authority else "http"
        # As nginx with `proxy_set_header Host $http_host`, which the server's check of origins needs.
        headers = [
            *((name, value) for name, value in request.headers.items() if name not in HOP_BY_HOP),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", scheme),
            ("x-forwarded-prefix", self._prefix),
        ]
        asked = self._client.build_request(
            request.method,
            f"/{request.path_params['path']}",
            params=request.query_params,
            headers=headers,
            content=await request.body(),
        )
        answer = await self._client.send(asked, stream=True)
        passed = {name: value for name, value in answer.headers.items() if name not in HOP_BY_HOP}
        if request.method == "HEAD" or answer.status_code == 304:
            await answer.aclose()
            return Response(status_code=answer.status_code, headers=passed)

        async def blocks() -> AsyncIterator[bytes]:
            async for block in answer.aiter_raw():
                yield block

        return StreamingResponse(
            blocks(), answer.status_code, passed, background=BackgroundTask(answer.aclose)
        )


@contextmanager
def reverse_proxy(backend: str, prefix: str = "", tls: bool = False) -> Iterator[ReverseProxy]:
    """A proxy that listens already."""
    proxy = ReverseProxy(backend, prefix, tls)
    proxy.mend()
    try:
        yield proxy
    finally:
        proxy.cut()
