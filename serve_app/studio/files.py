"""The files of the studio: the page, its modules, styles and pictures, as browsers are sent them.

All of them are read when the server starts. What is sent is looked up by its whole path, so that no path of a
request ever reaches the disk, and all replicas give a file the same ETag.
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


def studio_files(folder: Path = STATIC) -> dict[str, StudioFile]:
    """Read all files below a folder, by their paths in it. Files of other kinds are left out."""
    return {
        path.relative_to(folder).as_posix(): _read(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in MEDIA_TYPES and path.is_file()
    }


def _read(path: Path) -> StudioFile:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:32]
    compressed = _compressed(content)
    return StudioFile(
        MEDIA_TYPES[path.suffix],
        Encoded(content, f'"{digest}"'),
        Encoded(compressed, f'"{digest}-gzip"') if len(compressed) < len(content) else None,
    )


@functools.cache
def _compressed(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=9, mtime=0)
