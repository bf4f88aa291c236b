"""Stores training data on disk as one array for each block of songs. A file is either complete or absent."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True)
class BlockFiles(Generic[_Number]):
    """Manages `count` files in `folder`, `name-00000.npy` and so on.

    Each is written once and never changed.
    """

    folder: Path
    name: str
    count: int

    def file(self, block: int) -> Path:
        return self.folder / f"{self.name}-{block:05}.npy"

    @property
    def missing(self) -> list[int]:
        return [block for block in range(self.count) if not self.file(block).exists()]

    def write(self, block: int, array: npt.NDArray[_Number]) -> None:
        """Write the array of a block. The folder is created if necessary."""
        self.folder.mkdir(parents=True, exist_ok=True)
        aside = self.file(block).with_suffix(".part")
        with aside.open("wb") as file:
            np.save(file, array)
        aside.rename(self.file(block))

    @cached_property
    def arrays(self) -> Sequence[npt.NDArray[_Number]]:
        """Return the arrays of all blocks, mapped into memory, so that only the parts in use are read."""
        return [np.load(self.file(block), mmap_mode="r") for block in range(self.count)]
