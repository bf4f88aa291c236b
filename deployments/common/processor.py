"""How the process of a replica uses its machine: threads, and memory that tensors have freed."""

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
    """An executor with one thread, on which an engine both loads its model and computes.

    OpenMP keeps a team of threads for each thread that has ever computed. With two teams on the same cores
    OpenMP's threads no longer wait actively, and a forward of many small operations takes a third longer. A
    thread that computes with one core has no team.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)


@contextmanager
def loading() -> Iterator[None]:
    """Import and load without garbage collection, then exclude all loaded objects from later collections.

    Imports make millions of objects that are never freed. Collections take a fifth of the time of an import,
    and later each would stop the replica for some tens of milliseconds. At the end the memory that loading
    has freed goes back to the kernel: weights are copied and converted while they are loaded.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        _give_back_freed_memory()


def collect_garbage_rarely() -> None:
    """Let the garbage collector look at all objects of this process rarely.

    An open request has some thousand objects. While a thousand clients connect, the default collects all
    objects some ten times, which stops the process for up to half a second each. What is not part of a cycle
    is freed at once all the same, and young cycles are still collected every few thousand objects.
    """
    gc.set_threshold(10_000, 5, 100)


def core_count() -> int:
    """The number of cores that the process may use.

    It is not OMP_NUM_THREADS, which Ray sets to the number of cores that a replica reserves.
    """
    return len(os.sched_getaffinity(0))


def use_threads(threads: int | None) -> None:
    """Let torch compute with `threads` threads; None means one for each core."""
    import torch

    # `torch.set_num_threads` does nothing in vLLM's process, which replaces it.
    torch._C.set_num_threads(threads or core_count())


def let_gpu_memory_grow(device: str) -> None:
    """Let torch allocate GPU memory as pages in a few large ranges, so that it can return single pages.

    Otherwise freed weights leave holes between other weights, and no other process can use those. It only
    works before torch is imported.
    """
    if device == "cuda":
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")


def keep_freed_memory() -> None:
    """Let this process keep the memory that tensors free from now on, for later tensors.

    By default glibc returns large blocks at once, and the kernel zeroes new ones page by page, which takes a
    tenth of a forward of the DiT. With another C library this does nothing.
    """
    if (mallopt := _of_glibc("mallopt")) is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _LARGE)


def _give_back_freed_memory() -> None:
    if (malloc_trim := _of_glibc("malloc_trim")) is not None:
        malloc_trim(0)


def _of_glibc(function: str) -> Callable[..., int] | None:
    """A function of glibc; None with another C library."""
    return getattr(ctypes.CDLL(None), function, None) if sys.platform == "linux" else None
