"""How the process of a replica uses its machine: threads, and the memory that tensors gave back."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Numbers of mallopt(3), from malloc.h."""
_LARGE = 2**31 - 1


def engine_thread(name: str) -> ThreadPoolExecutor:
    """The one thread of an engine: it loads the model, too.

    OpenMP keeps a team of threads for each thread that ever computed. Where a second one has a team on the
    same cores, none waits actively any more, and a forward of many small operations takes a third longer.
    A thread that computes alone has no team.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)


@contextmanager
def loading() -> Iterator[None]:
    """Import and load without looking for garbage, then never look at what was loaded again.

    Imports make millions of objects that stay for good. Looking through them takes a fifth of an import, and
    later it would stop the replica for some tens of milliseconds each time. What loading has freed goes back
    to the kernel: weights are copied and converted on their way.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        _give_back_freed_memory()


def core_count() -> int:
    """Cores that the process may use; Ray's OMP_NUM_THREADS is the share of them that a replica reserves."""
    return len(os.sched_getaffinity(0))


def use_threads(threads: int | None) -> None:
    """Let torch compute with so many threads; None is one for each core."""
    import torch

    # vLLM puts a function that does nothing in the place of `torch.set_num_threads`.
    torch._C.set_num_threads(threads or core_count())


def let_gpu_memory_grow(device: str) -> None:
    """Let torch's memory on a GPU be pages of a few large ranges, of which it can give each one back.

    Otherwise weights that are freed leave holes between those that stay, which other processes never get.
    It must be said before torch is imported.
    """
    if device == "cuda":
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")


def keep_freed_memory() -> None:
    """Let this process keep what its tensors free from now on, for the next ones.

    glibc hands large blocks back at once, and the kernel zeroes new ones page by page: a tenth of a forward
    of the DiT. Nothing happens where the C library is another.
    """
    if (mallopt := _of_glibc("mallopt")) is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _LARGE)


def _give_back_freed_memory() -> None:
    if (malloc_trim := _of_glibc("malloc_trim")) is not None:
        malloc_trim(0)


def _of_glibc(function: str) -> Callable[..., int] | None:
    """A function of the C library; None where it is another library."""
    return getattr(ctypes.CDLL(None), function, None) if sys.platform == "linux" else None
