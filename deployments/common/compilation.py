"""What happens where torch.compile does not work."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def compiling(setting: str) -> Iterator[None]:
    """Raises RuntimeError where the machine can't compile what is called within; `setting` turns it off."""
    from torch._dynamo.exc import BackendCompilerFailed  # slow, and a CPU does without

    try:
        yield
    except BackendCompilerFailed as error:
        raise RuntimeError(
            "torch.compile failed. It needs a C compiler and Python's headers on this machine; "
            f"with {setting}: false the server does without it, more slowly"
        ) from error
