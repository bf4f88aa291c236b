"""Changes Ogg files page by page."""

from collections.abc import Iterator

_HEADER_BYTES = 27
_CRC = slice(22, 26)
_POLYNOMIAL = 0x04C11DB7


def pages(content: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(content):
        segments = content[start + 26]
        table = content[start + _HEADER_BYTES : start + _HEADER_BYTES + segments]
        end = start + _HEADER_BYTES + segments + sum(table)
        yield content[start:end]
        start = end


def captured_live(content: bytes, samples_before: int) -> bytes:
    """Return the file as received by a listener who joined after this many samples."""
    return b"".join(_later(page, samples_before) for page in pages(content))


def _later(page: bytes, samples: int) -> bytes:
    position = int.from_bytes(page[6:14], "little", signed=True)
    if position <= 0:  # This is a header, or a page on which no packet ends.
        return page
    return with_checksum(page[:6] + (position + samples).to_bytes(8, "little") + page[14:])


def with_checksum(page: bytes) -> bytes:
    changed = bytearray(page)
    changed[_CRC] = bytes(4)
    changed[_CRC] = _checksum(changed).to_bytes(4, "little")
    return bytes(changed)


def _checksum(data: bytes) -> int:
    value = 0
    for byte in data:
        value = (value << 8) & 0xFFFFFFFF ^ _TABLE[(value >> 24) ^ byte]
    return value


def _row(byte: int) -> int:
    value = byte << 24
    for _ in range(8):
        value = (value << 1) & 0xFFFFFFFF ^ (_POLYNOMIAL if value >> 31 else 0)
    return value


_TABLE = [_row(byte) for byte in range(256)]
