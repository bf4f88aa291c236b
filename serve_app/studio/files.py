"""The files of the studio: the page, its modules, styles and pictures, as browsers are sent them.

All of them are read when the server starts. What is sent is looked up by its whole path, so that no path of a
request ever reaches the disk, and all replicas give a file the same ETag. The page names the other files by
addresses with the version of the studio, so a browser may keep them without asking again.
"""

import functools
import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

STATIC = Path(__file__).parent / "static"
PAGE = "index.html"
MEDIA_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
"""The kinds of files that are served, by the ends of their names."""


@dataclass(frozen=True)
class Encoded:
    """The bytes of a file in one content encoding."""

    content: bytes
    etag: str


@dataclass(frozen=True)
class StudioFile:
    """One file."""

    media_type: str
    plain: Encoded
    compressed: Encoded | None
    """The same in gzip; None where that is not smaller."""


@dataclass(frozen=True)
class Studio:
    """All files of one version of the studio."""

    version: str
    """A digest of all files."""
    files: Mapping[str, StudioFile]
    """The files by their paths in the folder."""


def studio_in(folder: Path = STATIC) -> Studio:
    """Read all files below a folder. Files of other kinds are left out."""
    contents = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in MEDIA_TYPES and path.is_file()
    }
    version = _digest(b"".join(f"{path} {_digest(content)}\n".encode() for path, content in contents.items()))
    if PAGE in contents:
        contents[PAGE] = contents[PAGE].replace(b'"studio/', f'"studio/{version}/'.encode())
    return Studio(version, {path: _file(Path(path), content) for path, content in contents.items()})


def _file(path: Path, content: bytes) -> StudioFile:
    digest = _digest(content)
    compressed = _compressed(content)
    return StudioFile(
        MEDIA_TYPES[path.suffix],
        Encoded(content, f'"{digest}"'),
        Encoded(compressed, f'"{digest}-gzip"') if len(compressed) < len(content) else None,
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


@functools.cache
def _compressed(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=9, mtime=0)
