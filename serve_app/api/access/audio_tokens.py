"""Signed, expiring `?token=` parameters of audio URLs, for players that cannot send an API key."""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable

from serve_app.api.service import JobService

PURPOSE = b"acestep audio token v1"
"""Key derivation label. The store's secret is also used elsewhere, each time with a different derived key."""

_TOKEN = re.compile(r"([1-9][0-9]{0,11})\.([A-Za-z0-9_-]{43})")


class AudioTokens:
    """`EXPIRY.SIGNATURE`: epoch seconds, and HMAC-SHA256 over them and the URL's path (job id, file)."""

    def __init__(self, service: JobService, seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._service = service
        self._seconds = seconds
        self._clock = clock
        self._key: bytes | None = None

    async def signer(self) -> Callable[[str], str]:
        """A function that adds a token to the path of a song."""
        key = await self._signing_key()
        expiry = int(self._clock() + self._seconds)
        return lambda path: f"{path}?token={expiry}.{_signature(key, path, expiry)}"

    async def valid(self, path: str, token: str) -> bool:
        """Whether a token is valid for this path and has not expired."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return False
        expiry = int(match[1])
        genuine = hmac.compare_digest(_signature(await self._signing_key(), path, expiry), match[2])
        return genuine and self._clock() < expiry

    async def _signing_key(self) -> bytes:
        if self._key is None:
            self._key = hmac.digest(await self._service.secret(), PURPOSE, "sha256")
        return self._key


def _signature(key: bytes, path: str, expiry: int) -> str:
    mac = hmac.new(key, f"{path}\n{expiry}".encode("utf-8", "surrogateescape"), hashlib.sha256)
    return base64.urlsafe_b64encode(mac.digest()).rstrip(b"=").decode()
