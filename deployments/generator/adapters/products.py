"""The changes that adapters make to the matrix products of the DiT's layers, for the rows that have them.

A layer computes y = W x for all rows at once. For the rows of an adapter y becomes c · (W x + s · ΔW x), with
ΔW x as two small products; c are the factors of DoRA. Other rows are not touched, not even by adding zeros.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import local
from typing import Any

import torch
from torch.nn.functional import linear

Added = Mapping[str, Sequence["RunProduct"]]
"""The products that one layer adds, by the name of the matrix in `LayerWeights`."""


@dataclass(frozen=True)
class LowRankPart:
    """The second product of a low-rank change."""

    rows: slice
    """The rows of the joined matrix that it changes."""
    ranks: slice
    """Its part of the joined first products."""
    up: torch.Tensor
    """[rank, rows]"""
    scale: float


@dataclass(frozen=True)
class KroneckerPart:
    """A change by kron(first, second), whose product needs no matrix of the full size."""

    rows: slice
    first: torch.Tensor
    second: torch.Tensor
    """Transposed."""
    scale: float

    def product(self, inputs: torch.Tensor) -> torch.Tensor:
        """[tokens, columns] -> [tokens, rows]"""
        blocks = inputs.reshape(len(inputs), self.first.shape[1], self.second.shape[0])
        return torch.matmul(self.first, torch.matmul(blocks, self.second)).flatten(1)


@dataclass(frozen=True)
class ChangedProduct:
    """The change of the product of one matrix, or of several that are joined because of their equal input."""

    down: torch.Tensor | None
    """[ranks, columns]: the first matrices of all low-rank parts; None without such parts."""
    low_rank: tuple[LowRankPart, ...]
    kronecker: tuple[KroneckerPart, ...]

    @property
    def tensors(self) -> Iterator[torch.Tensor]:
        """All its tensors."""
        if self.down is not None:
            yield self.down
        for part in self.low_rank:
            yield part.up
        for kronecker in self.kronecker:
            yield kronecker.first
            yield kronecker.second


@dataclass(frozen=True)
class MountedProduct:
    """A change at the strength of a request."""

    change: ChangedProduct
    strength: float
    factors: torch.Tensor | None = None
    """The factors of DoRA, [rows]; 1 for the matrices that have none. None without DoRA."""

    def add(self, outputs: torch.Tensor, inputs: torch.Tensor) -> None:
        """Change the `outputs` [tokens, rows] of the `inputs` [tokens, columns] in place."""
        change = self.change
        if change.down is not None:
            narrow = linear(inputs, change.down)
            for part in change.low_rank:
                outputs[:, part.rows].addmm_(narrow[:, part.ranks], part.up, alpha=part.scale * self.strength)
        for kronecker in change.kronecker:
            outputs[:, kronecker.rows].add_(kronecker.product(inputs), alpha=kronecker.scale * self.strength)
        if self.factors is not None:
            outputs.mul_(self.factors)


@dataclass(frozen=True)
class RunProduct:
    """The products that are added for a run, which is a group of neighbouring rows with the same adapters."""

    tokens: slice
    """The run's part of all tokens."""
    products: tuple[MountedProduct, ...]
    """Those of all its adapters. A DoRA is the first, because its factors are for W and its own change."""

    def add(self, outputs: torch.Tensor, inputs: torch.Tensor) -> None:
        """Change the run's rows of `outputs` [all tokens, rows]."""
        for product in self.products:
            product.add(outputs[self.tokens], inputs[self.tokens])


class _Current(local):
    """The products of the layer that the present thread computes."""

    def __init__(self) -> None:
        self.added: Added = {}


_current = _Current()


@contextmanager
def adding(added: Added) -> Iterator[None]:
    """Let `add_products` in the block add these products."""
    _current.added = added
    try:
        yield
    finally:
        _current.added = {}


# The layers call an operator and do not get the products as an argument: to torch.compile the operator is
# opaque, so the same compiled layers serve any mixture of adapters.
_LIBRARY: Any = torch.library.Library("acestep", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define("add_products(Tensor(a!) outputs, Tensor inputs, str matrix) -> ()")


def _add_products(outputs: torch.Tensor, inputs: torch.Tensor, matrix: str) -> None:
    for run in _current.added.get(matrix, ()):
        run.add(outputs, inputs)


def _trace(outputs: torch.Tensor, inputs: torch.Tensor, matrix: str) -> None:
    """The operator has no output whose shape a compiler would have to know."""


_LIBRARY.impl("add_products", _add_products, "CompositeExplicitAutograd")
torch.library.register_fake("acestep::add_products", _trace, lib=_LIBRARY)


def product(inputs: torch.Tensor, weights: torch.Tensor, matrix: str, adds: bool) -> torch.Tensor:
    """[tokens, columns] -> [tokens, rows]: the product with `weights`, and what adapters add to it.

    `matrix` is the name of `weights` in `LayerWeights`. Unless `adds`, it is the product alone.
    """
    outputs = linear(inputs, weights)
    if adds:
        torch.ops.acestep.add_products(outputs, inputs, matrix)
    return outputs


def changed(
    inputs: torch.Tensor,
    weights: torch.Tensor,
    bias: torch.Tensor | None,
    products: Sequence[MountedProduct],
) -> torch.Tensor:
    """A linear layer with what `products` add: [tokens, columns] -> [tokens, rows].

    The bias comes last, because the factors of DoRA do not act on it.
    """
    outputs = linear(inputs, weights)
    for each in products:
        each.add(outputs, inputs)
    return outputs if bias is None else outputs.add_(bias)
