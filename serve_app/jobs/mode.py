"""The modes of the server, which an operator sets."""

from enum import StrEnum


class Mode(StrEnum):
    """Whether jobs are accepted and begun. It is stored, so it survives crashes and upgrades."""

    OPEN = "open"
    DRAINING = "draining"
    """New jobs are refused; queued and running ones are finished."""
    PAUSED = "paused"
    """New jobs are accepted, but none is begun; running ones are finished."""
