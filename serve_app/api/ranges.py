"""Byte ranges (RFC 9110 §14). One range is served; an invalid header is ignored."""

import re

_RANGE = re.compile(r"bytes=\s*(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))\s*", re.IGNORECASE)


class UnsatisfiableRangeError(ValueError):
    """The file has no bytes in the range."""


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """[start, stop) of a `Range` header for a file of `size` bytes; None for the whole file.

    Several ranges at once count as none, which the RFC allows. Raises UnsatisfiableRangeError.
    """
    match = _RANGE.fullmatch(header or "")
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        start, stop = max(0, size - int(suffix)), size
    else:
        start, stop = int(first), size if last is None else min(int(last) + 1, size)
        if last is not None and int(last) < int(first):
            return None
    if start >= size or start >= stop:
        raise UnsatisfiableRangeError(f"the file has {size} bytes")
    return start, stop
