"""Failures that users are told about."""


class JobError(Exception):
    """A job that cannot succeed, however often it is tried. The text is one sentence for the user."""
