"""Errors of recordings."""


class RecordingError(ValueError):
    """The file cannot be used as a recording. The message continues a sentence: "The file …"."""
