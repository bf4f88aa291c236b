"""Failures that every part of the server handles in the same way."""


class JobError(Exception):
    """The job can never succeed, however often it is tried. The text is one sentence for the user."""


class UntrainedError(JobError):
    """The model was never trained for what it is asked. The caller goes on without an answer."""


class EngineError(Exception):
    """A model's engine cannot go on with a run. Another replica or a later attempt may succeed."""


class StorageError(OSError):
    """A call of the audio storage failed: it is full, out of reach, or denies access."""
