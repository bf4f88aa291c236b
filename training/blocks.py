"""What training keeps of its songs on disk: an array for each block of them, whole or not there at all."""

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
    """`name-00000.npy` and on in `folder`, `count` of them, each made once and never again."""

    folder: Path
    name: str
    count: int

    def file(self, block: int) -> Path:
        return self.folder / f"{self.name}-{block:05}.npy"

    @property
    def missing(self) -> list[int]:
        return [block for block in range(self.count) if not self.file(block).exists()]

    def write(self, block: int, array: npt.NDArray[_Number]) -> None:
        """Makes the folder where there is none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        aside = self.file(block).with_suffix(".part")
        with aside.open("wb") as file:
            np.save(file, array)
        aside.rename(self.file(block))

    @cached_property
    def arrays(self) -> Sequence[npt.NDArray[_Number]]:
        """Of all blocks, mapped: what is looked at is read."""
        return [np.load(self.file(block), mmap_mode="r") for block in range(self.count)]
