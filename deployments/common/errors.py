"""Failures that mean the same to every part of the server."""

STALLED_SECONDS = 300.0
"""No step, forward or tile takes this long: an engine that spends more time on one counts as hung."""


class JobError(Exception):
    """A job that cannot succeed, however often it is tried. The text is one sentence for the user."""


class EngineError(Exception):
    """A model's engine cannot go on with a run; another replica, or a later try, may."""


class StorageError(OSError):
    """The audio storage did not do what it was asked: it is full, out of reach, or closed to this server."""
