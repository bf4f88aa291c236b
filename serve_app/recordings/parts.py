"""Division of a file into parts that are decoded one after the other like separate files.

Leading ID3v2 tags are left out, because they may be compressed and make FFmpeg take any file for an MP3. Ogg
files may be chained: radio captures and `cat a.ogg b.ogg` contain several complete streams in sequence, which
FFmpeg and libsndfile do not read sample-exactly. Each of these links is a part.
"""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass

_BLOCK_BYTES = 1 << 16

_ID3_HEADER_BYTES = 10
_ID3_FOOTER = 0x10

_OGG_PAGE = b"OggS"
_OGG_HEADER_BYTES = 27
_OGG_LARGEST_TABLE = 255
_OGG_FIRST_PAGE = 0x02
"""Flag of the first page of a logical stream."""


class FilePart(io.RawIOBase):
    """The bytes [start, end) of an open file, with a separate read position."""

    def __init__(self, descriptor: int, start: int, end: int, granule: int | None = None) -> None:
        self._descriptor = descriptor
        self.start = start
        self.end = max(start, end)
        self.granule = granule
        """The granule position of the page of an Ogg link whose sound is on one page; None elsewhere."""
        self._position = 0

    def bytes_at(self, position: int, size: int) -> bytes:
        """Up to `size` bytes, fewer at the end. The read position does not change."""
        start = self.start + position
        return os.pread(self._descriptor, max(0, min(size, self.end - start)), start)

    def __len__(self) -> int:
        return self.end - self.start

    def read(self, size: int = -1) -> bytes:
        data = self.bytes_at(self._position, len(self) if size < 0 else size)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: len(self)}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def parts_of(descriptor: int) -> Iterator[FilePart]:
    """The parts of an open file, at least one."""
    whole = FilePart(descriptor, 0, os.fstat(descriptor).st_size)
    tagless = FilePart(descriptor, _after_tags(whole), whole.end)
    links = _ogg_links(tagless) if tagless.bytes_at(0, len(_OGG_PAGE)) == _OGG_PAGE else []
    if not links:
        yield tagless
    for link, end in zip(links, [*(link.start for link in links[1:]), len(tagless)], strict=False):
        granule = link.last_granule if link.pages_of_sound == 1 else None
        yield FilePart(descriptor, tagless.start + link.start, tagless.start + end, granule)


def _after_tags(part: FilePart) -> int:
    position = 0
    while True:
        head = part.bytes_at(position, _ID3_HEADER_BYTES)
        if len(head) < _ID3_HEADER_BYTES or head[:3] != b"ID3" or max(head[6:]) > 0x7F:
            return position
        size = int.from_bytes(head[6:]) & 0x7F
        for shift, digit in enumerate(reversed(head[6:9]), 1):
            size |= digit << 7 * shift
        footer = _ID3_HEADER_BYTES if head[5] & _ID3_FOOTER else 0
        position += _ID3_HEADER_BYTES + size + footer


@dataclass
class _Link:
    start: int
    pages_of_sound: int = 0
    last_granule: int = 0


def _ogg_links(part: FilePart) -> list[_Link]:
    """The links of an Ogg file. Each begins with the first pages of its streams, one after the other."""
    links: list[_Link] = []
    position, among_first_pages = 0, False
    while (found := _next_page(part, position)) is not None:
        head = part.bytes_at(found, _OGG_HEADER_BYTES + _OGG_LARGEST_TABLE)
        if len(head) < _OGG_HEADER_BYTES:
            break
        first_page = bool(head[5] & _OGG_FIRST_PAGE)
        if first_page and not among_first_pages:
            links.append(_Link(found))
        if links and (granule := int.from_bytes(head[6:14], "little", signed=True)) > 0:
            links[-1].pages_of_sound += 1
            links[-1].last_granule = granule
        among_first_pages = first_page
        table = head[_OGG_HEADER_BYTES : _OGG_HEADER_BYTES + head[26]]
        position = found + _OGG_HEADER_BYTES + len(table) + sum(table)
    return links


def _next_page(part: FilePart, position: int) -> int | None:
    """Offset of the page at `position`, or else of the next page; None without one."""
    if part.bytes_at(position, len(_OGG_PAGE)) == _OGG_PAGE:
        return position
    while block := part.bytes_at(position, _BLOCK_BYTES):
        if (ahead := block.find(_OGG_PAGE)) >= 0:
            return position + ahead
        if len(block) < len(_OGG_PAGE):
            return None
        position += len(block) - len(_OGG_PAGE) + 1
    return None
