"""The headers by which a browser keeps the studio from everything that it does not need."""

from collections.abc import Mapping


def page_headers(song_origin: str | None = None) -> Mapping[str, str]:
    """The headers of every file of the studio.

    `song_origin` is the origin of the storage from which browsers fetch songs where the server redirects
    downloads to it; None where it sends songs itself.
    """
    return {
        "content-security-policy": _content_policy(song_origin),
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
    }


def _content_policy(song_origin: str | None) -> str:
    """Only this server's files and answers are used; no page can frame the studio, and no text can run."""
    songs = ["'self'", *([song_origin] if song_origin else [])]
    sources = {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "font-src": ["'self'"],
        "worker-src": ["'self'"],
        "img-src": ["'self'", "blob:"],
        "media-src": [*songs, "blob:"],
        "connect-src": songs,
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
        "require-trusted-types-for": ["'script'"],  # no text becomes HTML, by mistake or otherwise
        "trusted-types": ["studio"],  # a policy of the page's that lets its worker's address through
    }
    return "; ".join(" ".join([directive, *allowed]) for directive, allowed in sources.items())
