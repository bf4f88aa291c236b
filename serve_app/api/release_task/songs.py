"""The addresses of songs: `/v1/audio?path=/tmp/acestep-serve/{job_id}/{i}.{ext}`.

They name no file. Their form is decided by what clients do with them: some take everything after `?path=`,
some look at the extension, some show only what looks like a file in `/tmp`, and some open what has no `?` as
a file of their own machine. They consist of characters that nobody needs to encode. With API keys a folder
`{expiry}-{signature}` stands before the file's name.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from serve_app.api.access.audio_tokens import Token

ROUTE = "/v1/audio"
FOLDER = "/tmp/acestep-serve"
"""No such folder exists."""
MAX_LENGTH = 4_096
"""Characters of a text that is read as the address of a song."""

_FILE = r"(?P<index>[0-9]{1,4})\.(?P<extension>[A-Za-z0-9]{1,8})"
_HERE = re.compile(
    rf"{FOLDER}/(?P<job_id>[0-9a-f-]{{1,64}})/(?:(?P<expiry>[0-9]{{1,12}})-(?P<signature>[A-Za-z0-9_-]{{43}})/)?{_FILE}"
)
_JOB_API = re.compile(
    rf"{ROUTE}/(?P<job_id>[0-9a-f-]{{1,64}})/{_FILE}"
    r"(?:\?token=(?:(?P<expiry>[0-9]{1,12})\.(?P<signature>[A-Za-z0-9_-]{43}))?.*)?"
)


@dataclass(frozen=True)
class NamedSong:
    """A song by its address. It need not exist."""

    job_id: str
    index: str
    extension: str
    token: Token | None = None

    @property
    def path(self) -> str:
        """The path of the song in the job API, which is also what tokens sign."""
        return f"{ROUTE}/{self.job_id}/{self.index}.{self.extension}"


def song_url(path: str, sign: Callable[[str], Token] | None) -> str:
    """The relative URL of a song, from its path in the job API."""
    folder, _, file = path.removeprefix(f"{ROUTE}/").partition("/")
    if sign is not None:
        token = sign(path)
        folder = f"{folder}/{token.expiry}-{token.signature}"
    return f"{ROUTE}?path={FOLDER}/{folder}/{file}"


def song_named(text: str) -> NamedSong | None:
    """The song that a text names; None where it names none.

    The text is the value of `path`, the URL around it with or without a host, or the path of the job API,
    each also percent-encoded once more.
    """
    if len(text) > MAX_LENGTH or not text.isprintable():
        return None
    return _song(text) or _song(unquote(text))


def _song(text: str) -> NamedSong | None:
    value = _without_host(text)
    route, _, query = value.partition("?")
    if route.removesuffix("/") == ROUTE:
        pairs = (pair.partition("=") for pair in query.split("&"))
        value = next((unquote(path) for name, _, path in pairs if name == "path"), value)
    match = _HERE.fullmatch(value) or _JOB_API.fullmatch(value)
    if match is None:
        return None
    token = Token(int(match["expiry"]), match["signature"]) if match["signature"] else None
    return NamedSong(match["job_id"], match["index"], match["extension"], token)


def _without_host(text: str) -> str:
    """A URL without scheme, host and the prefix `/api`. Other servers' songs have jobs that are unknown."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return text
    if parts.scheme not in {"", "http", "https"} or parts.fragment:
        return text
    path = parts.path.removeprefix("/api") if parts.path.startswith(f"/api{ROUTE}") else parts.path
    return f"{path}?{parts.query}" if parts.query else path
