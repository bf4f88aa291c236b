"""The numbers of an adapter, on the CPU, as its file holds them.

The result says for each matrix W of the DiT, [rows, columns], which change ΔW the adapter makes. A strength
multiplies ΔW later, and DoRA scales the rows of W + ΔW (`RowLengths`).
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from deployments.checkpoints.adapters.errors import AdapterError
from deployments.checkpoints.adapters.outline import Change, Decomposition, Outline


@dataclass(frozen=True)
class LowRank:
    """ΔW = scale · up · down."""

    down: torch.Tensor
    """[rank, columns]"""
    up: torch.Tensor
    """[rows, rank]"""
    scale: float

    def matrix(self) -> torch.Tensor:
        """ΔW in float32."""
        product: torch.Tensor = self.up.float() @ self.down.float()
        return product.mul(self.scale)


@dataclass(frozen=True)
class Kronecker:
    """ΔW = scale · kron(first, second)."""

    first: torch.Tensor
    second: torch.Tensor
    scale: float

    def matrix(self) -> torch.Tensor:
        """ΔW in float32."""
        product: torch.Tensor = torch.kron(self.first.float(), self.second.float())
        return product.mul(self.scale)


Delta = LowRank | Kronecker


@dataclass(frozen=True)
class RowLengths:
    """The lengths that DoRA gives the rows of a matrix, [rows] in float32."""

    lengths: torch.Tensor
    rule: Decomposition

    def factors(self, weight: torch.Tensor, delta: torch.Tensor, strength: float) -> torch.Tensor:
        """The factors c, [rows] in float32, with which c · (W + change) is the adapted matrix.

        `delta` is the ΔW of `weight` W, both in float32; the change is that of `change_strength` times ΔW.
        """
        changed = weight + self.change_strength(strength) * delta
        norms: torch.Tensor = torch.linalg.vector_norm(changed, dim=1)
        if self.rule is Decomposition.PEFT:
            return self.lengths / norms
        factors = self.lengths / (norms + torch.finfo(torch.float32).eps)
        return (factors - 1).mul(strength).add(1)

    def change_strength(self, strength: float) -> float:
        """The strength of ΔW itself: LyCORIS lets a request's strength act on the lengths alone."""
        return strength if self.rule is Decomposition.PEFT else 1.0


@dataclass(frozen=True)
class MatrixChange:
    """The change of one matrix."""

    delta: Delta
    lengths: RowLengths | None
    """None without DoRA."""


@dataclass(frozen=True)
class Adapter:
    """An adapter whose numbers are loaded."""

    changes: Mapping[str, MatrixChange]
    """Name of a matrix, as in `linears` -> its change. Matrices that stay as they are have no entry."""
    identity: str
    """SHA-256 of all numbers and scales: the same in every file, and under every name, of this adapter."""

    @property
    def has_lengths(self) -> bool:
        """Whether it is a DoRA."""
        return any(change.lengths is not None for change in self.changes.values())


def read_adapter(content: bytes, outline: Outline) -> Adapter:
    """The adapter in a file's `content`, whose header gave `outline`.

    Raises AdapterError for numbers that are not finite.
    """
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise AdapterError("its file is no whole safetensors file") from error
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise AdapterError(f"{key} has numbers that are not finite")
    changes = {}
    for change in outline.changes:
        delta = _delta(change, tensors)
        lengths = _lengths(change, tensors, outline.decomposition)
        if lengths is not None or not _is_zero(delta):
            changes[change.linear] = MatrixChange(delta, lengths)
    return Adapter(changes, _identity(changes))


def _delta(change: Change, tensors: Mapping[str, torch.Tensor]) -> Delta:
    def tensor(kind: str) -> torch.Tensor:
        return tensors[change.keys[kind]].flatten(1)

    alpha = float(tensors[change.keys["alpha"]].reshape(())) if "alpha" in change.keys else 1.0
    scale = change.scaled_by(alpha)
    if change.is_lokr:
        return Kronecker(_whole("lokr_w1", change, tensor), _whole("lokr_w2", change, tensor), scale)
    if change.is_loha:
        # (a1 b1) ∘ (a2 b2) is a product of matrices whose rank is the product of both ranks.
        down = torch.einsum("ri,si->rsi", tensor("hada_w1_b").float(), tensor("hada_w2_b").float())
        up = torch.einsum("or,os->ors", tensor("hada_w1_a").float(), tensor("hada_w2_a").float())
        return LowRank(down.flatten(0, 1), up.flatten(1), scale)
    return LowRank(tensor("lora_A"), tensor("lora_B"), scale)


def _whole(name: str, change: Change, tensor: Callable[[str], torch.Tensor]) -> torch.Tensor:
    """A factor of a LoKr, which may be stored as the product of two matrices."""
    if name in change.keys:
        return tensor(name)
    return tensor(f"{name}_a").float() @ tensor(f"{name}_b").float()


def _lengths(
    change: Change, tensors: Mapping[str, torch.Tensor], rule: Decomposition | None
) -> RowLengths | None:
    for kind in ("lora_magnitude_vector", "dora_scale"):
        if kind in change.keys and rule is not None:
            return RowLengths(tensors[change.keys[kind]].flatten().float(), rule)
    return None


def _is_zero(delta: Delta) -> bool:
    """Whether a matrix stays as it is. Trainers write all matrices, also those that they did not train."""
    factors = (delta.down, delta.up) if isinstance(delta, LowRank) else (delta.first, delta.second)
    return delta.scale == 0 or not all(factor.any() for factor in factors)


def _identity(changes: Mapping[str, MatrixChange]) -> str:
    digest = hashlib.sha256()
    for linear, change in sorted(changes.items()):
        delta = change.delta
        factors = (delta.down, delta.up) if isinstance(delta, LowRank) else (delta.first, delta.second)
        lengths = () if change.lengths is None else (change.lengths.lengths,)
        digest.update(f"{linear} {type(delta).__name__} {delta.scale!r}".encode())
        for tensor in (*factors, *lengths):
            digest.update(f"{tuple(tensor.shape)}".encode())
            digest.update(tensor.float().contiguous().numpy().data)
    return digest.hexdigest()
