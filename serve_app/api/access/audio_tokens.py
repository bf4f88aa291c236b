"""Signed, expiring `?token=` parameters of audio URLs, for players that cannot send an API key."""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from serve_app.api.service import JobService

PURPOSE = b"acestep audio token v1"
"""Key derivation label. The store's secret is also used elsewhere, each time with a different derived key."""

_TOKEN = re.compile(r"([1-9][0-9]{0,11})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Token:
    """The right to read one song for a time."""

    expiry: int
    """Epoch seconds."""
    signature: str
    """HMAC-SHA256 over the song's path and the expiry, in base64url: 43 characters."""


class AudioTokens:
    """Makes and checks tokens. In a URL of the job API one is written as `EXPIRY.SIGNATURE`."""

    def __init__(self, service: JobService, seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._service = service
        self._seconds = seconds
        self._clock = clock
        self._key: bytes | None = None

    async def signer(self) -> Callable[[str], str]:
        """A function that adds a token to the path of a song."""
        issue = await self.issuer()

        def signed(path: str) -> str:
            token = issue(path)
            return f"{path}?token={token.expiry}.{token.signature}"

        return signed

    async def issuer(self) -> Callable[[str], Token]:
        """A function that makes a token for the path of a song."""
        key = await self._signing_key()
        expiry = int(self._clock() + self._seconds)
        return lambda path: Token(expiry, _signature(key, path, expiry))

    async def valid(self, path: str, text: str) -> bool:
        """Whether a text is a token for this path that has not expired."""
        match = _TOKEN.fullmatch(text)
        return match is not None and await self.holds(path, Token(int(match[1]), match[2]))

    async def holds(self, path: str, token: Token) -> bool:
        """Whether a token is for this path and has not expired."""
        expected = _signature(await self._signing_key(), path, token.expiry)
        return hmac.compare_digest(expected, token.signature) and self._clock() < token.expiry

    async def _signing_key(self) -> bytes:
        if self._key is None:
            self._key = hmac.digest(await self._service.secret(), PURPOSE, "sha256")
        return self._key


def _signature(key: bytes, path: str, expiry: int) -> str:
    mac = hmac.new(key, f"{path}\n{expiry}".encode("utf-8", "surrogateescape"), hashlib.sha256)
    return base64.urlsafe_b64encode(mac.digest()).rstrip(b"=").decode()
