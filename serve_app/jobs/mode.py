"""What an operator lets the server do."""

from enum import StrEnum


class Mode(StrEnum):
    """Kept in the job store: neither a crash nor an upgrade undoes it."""

    OPEN = "open"
    DRAINING = "draining"
    """No new job is taken; those that wait and run are finished."""
    PAUSED = "paused"
    """Jobs are taken and none is begun; those that run are finished."""
