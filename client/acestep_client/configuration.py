"""Where the server is, who asks, and how requests are sent: what both clients need of httpx."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx

from acestep_client.effects import READ_SECONDS, Request

LOCAL = "http://127.0.0.1:8001"
URL_VARIABLE, KEY_VARIABLE = "ACESTEP_URL", "ACESTEP_API_KEY"
CONNECT_SECONDS = 10.0


def http_options(url: str | None, api_key: str | None) -> dict[str, Any]:
    """Return the arguments of `httpx.Client` and `httpx.AsyncClient`.

    What is not given comes from the environment variables `ACESTEP_URL` and `ACESTEP_API_KEY`. Raises
    ValueError for an address that is no http or https URL.
    """
    from acestep_client import __version__

    address = httpx.URL(url or os.environ.get(URL_VARIABLE) or LOCAL)
    if address.scheme not in {"http", "https"} or not address.host:
        raise ValueError(f"the server's address is an http or https URL, not {str(address)!r}")
    key = api_key or os.environ.get(KEY_VARIABLE)
    headers = {"User-Agent": f"acestep-serve-client/{__version__}"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return {
        "base_url": address,
        "headers": headers,
        "timeout": httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
        "follow_redirects": True,  # songs may be in an object store
    }


@contextmanager
def as_sent(http: httpx.Client | httpx.AsyncClient, request: Request) -> Iterator[httpx.Request]:
    """Give the request that httpx sends. Its recordings are open within the block."""
    with ExitStack() as opened:
        files = {
            name: (name, opened.enter_context(recording.opened()))
            for name, recording in request.files.items()
        }
        yield http.build_request(
            request.method,
            request.path,
            params=dict(request.parameters) or None,
            headers=dict(request.headers),
            json=request.body,
            data=dict(request.form) or None,
            files=files or None,
            timeout=httpx.Timeout(request.read_seconds, connect=CONNECT_SECONDS),
        )
