"""The error message for machines on which torch.compile does not work."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def compiling(setting: str) -> Iterator[None]:
    """Turn a failure of torch.compile in this block into a RuntimeError.

    Its message names `setting`, which turns compiling off.
    """
    from torch._dynamo.exc import BackendCompilerFailed  # slow to import, and not needed on a CPU

    try:
        yield
    except BackendCompilerFailed as error:
        raise RuntimeError(
            "torch.compile failed. It needs a C compiler and Python's headers on this machine; "
            f"with {setting}: false the server does without it, more slowly"
        ) from error
