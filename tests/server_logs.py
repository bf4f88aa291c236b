"""The logs of servers, and the tracebacks in them, which watchers take for a dead server."""

from collections.abc import Iterable, Mapping
from pathlib import Path

TRACEBACK = "Traceback"
LINES_BEFORE = 15
LINES_AFTER = 40
SHOWN_TRACEBACKS = 5


def written_since(sizes: Mapping[Path, int], files: Iterable[Path]) -> str:
    """Return what was appended to log files, each of which had the given size, or none."""
    return "".join(file.read_bytes()[sizes.get(file, 0) :].decode(errors="replace") for file in files)


def tracebacks_in(log: str) -> str:
    """Return the lines around the first tracebacks in a log, for an assertion to show; empty without one."""
    lines = log.splitlines()
    shown: list[str] = []
    end = 0
    for number, line in enumerate(lines):
        if TRACEBACK not in line or number < end:
            continue
        if len(shown) == SHOWN_TRACEBACKS:
            break
        end = number + LINES_AFTER
        shown.append("\n".join(lines[max(0, number - LINES_BEFORE) : end]))
    return "\n[…]\n".join(shown)
