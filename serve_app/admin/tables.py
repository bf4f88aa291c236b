"""Plain-text tables, for terminals and for programs that read them."""

import io
import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"))
_WIDTH = 100_000
"""Columns of a table: no cell is ever broken or cut, so that scripts find what they look for."""


def table(columns: Mapping[str, str], rows: Sequence[Sequence[str]]) -> str:
    """Format rows below their headings. `columns` maps each heading to its alignment ("<" or ">")."""
    drawn = Table(box=None, pad_edge=False, header_style="")
    for heading, side in columns.items():
        drawn.add_column(heading, justify="right" if side == ">" else "left", no_wrap=True)
    for row in rows:
        drawn.add_row(*map(escape, row))
    text = io.StringIO()
    Console(file=text, width=_WIDTH, color_system=None).print(drawn)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


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
