"""Errors of checkpoints."""


class CheckpointError(Exception):
    """A checkpoint is missing, incomplete or does not fit its config. The message says how to fix it."""
