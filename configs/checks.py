"""Validators of single settings."""

import re
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator


def without_password(instead: str) -> AfterValidator:
    """A validator that refuses a URL with a password; `instead` says where the password belongs."""

    def check(url: str) -> str:
        parts = urlsplit(url)
        if parts.password is not None or "password" in parse_qs(parts.query):
            raise ValueError(
                f"the URL holds a password, which config files and Ray's dashboard show to others: {instead}"
            )
        return url

    return AfterValidator(check)


def http_url(url: str) -> str:
    """Return `url` unchanged. Raises ValueError unless it is an http or https URL with a host."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("it is no URL that begins with http:// or https:// and names a host")
    return url


def named_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    """Return `origins` unchanged. Raises ValueError if one of them is not a web origin.

    The port may be `*`, which stands for any port and for none. `null` is the origin of pages from a file.
    """
    for origin in origins:
        if origin != "null" and not re.fullmatch(r"https?://[a-z0-9.:\[\]-]+(:\*)?", origin):
            raise ValueError(
                f"{origin!r} is no origin: it is written as in `https://studio.example` or "
                "`http://localhost:*` (any port), in lower case, without a path, and one is named at a time"
            )
    return origins
