"""The logs of servers, and the tracebacks in them, which watchers take for a dead server."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from serve_app.local_server import RAY_WAS_SLOW

TRACEBACK = "Traceback"
A_START = "Running config file: "
"""The beginning of the first line that `serve run` writes into its log."""
LINES_BEFORE = 15
LINES_AFTER = 40
SHOWN_TRACEBACKS = 5


def written_since(sizes: Mapping[Path, int], files: Iterable[Path]) -> str:
    """Return what was appended to log files, each of which had the given size, or none."""
    return "".join(file.read_bytes()[sizes.get(file, 0) :].decode(errors="replace") for file in files)


def tracebacks_in(log: str) -> str:
    """Return the lines around the first tracebacks in a log, for an assertion to show; empty without one.

    A server whose Ray was too slow to start begins again in the same log: there only its last start counts.
    """
    if RAY_WAS_SLOW in log:
        log = log.rpartition(A_START)[2]
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
