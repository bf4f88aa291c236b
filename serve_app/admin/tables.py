"""Plain-text tables for a terminal."""

import time
from collections.abc import Mapping, Sequence

_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"))


def table(columns: Mapping[str, str], rows: Sequence[Sequence[str]]) -> str:
    """Format rows below their headings. `columns` maps each heading to its alignment ("<" or ">")."""
    lines = [list(columns), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    formats = [f"{{:{side}{width}}}" for side, width in zip(columns.values(), widths, strict=True)]
    return "\n".join("  ".join(formats).format(*line).rstrip() for line in lines)


def age(since: float) -> str:
    """The time since an epoch second, in the largest unit that fits: `12s`, `5m`, `3h`, `8d`."""
    seconds = max(0.0, time.time() - since)
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def size(byte_count: int) -> str:
    """A number of bytes with a decimal unit: `512 B`, `3.2 MB`."""
    value = float(byte_count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.{0 if unit == 'B' else 1}f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
