"""Counts the bytes of tensors that are alive at once, without any memory: on the device `meta`."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):
    """Counts the storages that operations make while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._alive = 0
        self._seen: dict[int, weakref.finalize] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(leaf.untyped_storage()) for leaf in tree_leaves((args, kwargs)) if torch.is_tensor(leaf)}
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if torch.is_tensor(tensor):
                self._count(tensor.untyped_storage(), given)
        return result

    def _count(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        if id(storage) in given or id(storage) in self._seen:
            return  # The result is a view, or was written in place.
        size = storage.nbytes()
        self._alive += size
        self.peak = max(self.peak, self._alive)
        self._seen[id(storage)] = weakref.finalize(storage, self._gone, id(storage), size)

    def _gone(self, storage: int, size: int) -> None:
        self._alive -= size
        del self._seen[storage]
