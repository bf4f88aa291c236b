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
    every part that did not fit into memory, after the part's tensors were freed, and may free more. A single
    item is then tried once more, before the exception that `out_of_memory` returned is reported.
    """
    outcomes = _tried(batch, run)
    if outcomes is None:
        failure = out_of_memory(batch)
        if len(batch) == 1:
            return _tried(batch, run) or [failure]
    if outcomes or not batch:
        return outcomes or []
    half = len(batch) // 2
    return [
        *run_bisected(batch[:half], run, out_of_memory),
        *run_bisected(batch[half:], run, out_of_memory),
    ]


def _tried(
    batch: Sequence[_Item], run: Callable[[Sequence[_Item]], Sequence[_Outcome]]
) -> list[_Outcome | Exception] | None:
    """The outcomes, none where a batch of several items failed; None where memory was full.

    The traceback of a failure keeps its tensors alive, and is gone when this returns.
    """
    try:
        return [*run(batch)]
    except (torch.OutOfMemoryError, MemoryError):
        return None
    except Exception as error:
        return [error] if len(batch) == 1 else []
