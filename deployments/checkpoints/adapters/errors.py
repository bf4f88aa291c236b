"""Errors of adapter files."""


class AdapterError(Exception):
    """An adapter cannot be used. The message is for users: it names tensors and no path of the server."""
