"""What can be wrong with a recording."""


class RecordingError(ValueError):
    """The file is no recording that can be used. The message continues a sentence: "the file …"."""
