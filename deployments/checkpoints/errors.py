"""What goes wrong with checkpoints."""


class CheckpointError(Exception):
    """A checkpoint is missing, incomplete or not what its config says. The message says how to mend it."""
