"""What settings are checked for."""

import re
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator


def without_password(instead: str) -> AfterValidator:
    """Refuses a URL with a password, and says where to put it `instead`."""

    def check(url: str) -> str:
        parts = urlsplit(url)
        if parts.password is not None or "password" in parse_qs(parts.query):
            raise ValueError(
                f"the URL holds a password, which config files and Ray's dashboard show to others: {instead}"
            )
        return url

    return AfterValidator(check)


def http_url(url: str) -> str:
    """A URL with a host. Raises ValueError where its scheme is another than http or https."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("it is no URL that begins with http:// or https:// and names a host")
    return url


def named_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    """Web origins. Raises ValueError where one is none."""
    for origin in origins:
        if not re.fullmatch(r"https?://[a-z0-9.:\[\]-]+", origin):
            raise ValueError(
                f"{origin!r} is no origin: it is written as in `https://studio.example` or "
                "`http://localhost:3000`, in lower case, without a path, and one is named at a time"
            )
    return origins
