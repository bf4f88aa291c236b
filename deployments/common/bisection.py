"""Isolates the items that make a batch fail."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Outcome = TypeVar("_Outcome")


def run_bisected(
    batch: Sequence[_Item],
    run: Callable[[Sequence[_Item]], Sequence[_Outcome]],
    out_of_memory: Callable[[Sequence[_Item]], Exception],
) -> list[_Outcome | Exception]:
    """The outcome of each item, or the exception with which the item fails when it runs alone.

    A batch that fails is halved until each failing part is a single item. `out_of_memory` is called with
    every part that did not fit into memory, after the part's tensors were freed; for a single item it returns
    the exception to report.
    """
    try:
        return [*run(batch)]
    except (torch.OutOfMemoryError, MemoryError):
        memory_was_full = True
    except Exception as error:
        if len(batch) == 1:
            return [error]
        memory_was_full = False
    # The traceback keeps the failed forward's tensors alive until the except clause has been left.
    if memory_was_full:
        failure = out_of_memory(batch)
        if len(batch) == 1:
            return [failure]
    half = len(batch) // 2
    return [
        *run_bisected(batch[:half], run, out_of_memory),
        *run_bisected(batch[half:], run, out_of_memory),
    ]
