"""Mounting: from the numbers of adapters to the products that the forward adds.

No matrix of the DiT is copied or changed: the changes stay the small factors of which their files consist.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch

from deployments.checkpoints.adapters.linears import Linears, decoder_linears
from deployments.checkpoints.adapters.reading import Adapter, Kronecker, MatrixChange, RowLengths
from deployments.checkpoints.key_map import to_diffusers
from deployments.common.errors import JobError
from deployments.generator.adapters.products import (
    ChangedProduct,
    KroneckerPart,
    LowRankPart,
    MountedProduct,
)

JOINED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "queries_keys_values": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "self_out": ("self_attn.o_proj",),
        "cross_queries": ("cross_attn.q_proj",),
        "cross_keys": ("cross_attn.k_proj",),
        "cross_values": ("cross_attn.v_proj",),
        "cross_out": ("cross_attn.o_proj",),
        "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
        "down": ("mlp.down_proj",),
    }
)
"""The matrices of a layer as the forward joins them; names as in `LayerWeights`."""

Products = Mapping[str, tuple[MountedProduct, ...]]
Level = tuple[torch.Tensor, torch.Tensor]
"""The embedding [1, hidden] and the modulation [1, 6, hidden] of a noise level."""


@dataclass(frozen=True)
class DeviceAdapter:
    """An adapter on the device of a DiT, in the dtype of the DiT."""

    identity: str
    layers: tuple[Mapping[str, ChangedProduct], ...]
    """For each layer, the changes by the names of joined matrices."""
    others: Mapping[str, ChangedProduct]
    """The changes of the matrices outside of the layers, by their names in `linears`."""
    lengths: Mapping[str, RowLengths]
    """The lengths of DoRA, by the names in `linears`; empty without DoRA."""

    @property
    def byte_count(self) -> int:
        """Bytes of all its tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors())

    def _tensors(self) -> Iterator[torch.Tensor]:
        for changes in (*self.layers, self.others):
            for change in changes.values():
                yield from change.tensors
        for lengths in self.lengths.values():
            yield lengths.lengths


@dataclass(frozen=True, eq=False)
class Mount:
    """One or more adapters at certain strengths, ready for the forward. Songs with the same share it."""

    layers: tuple[Products, ...]
    """For each layer, the products by the names of joined matrices."""
    others: Products
    """The products of the matrices outside of the layers, by their names in `linears`."""
    levels: dict[float, Level] = field(default_factory=dict)
    """Noise levels whose embedding the adapters change. The forward fills it."""

    @property
    def changes_time(self) -> bool:
        """Whether noise levels are embedded differently."""
        return any(name.startswith("time_embed") for name in self.others)


class Mounter:
    """Prepares adapters for one DiT. It may be used on several threads."""

    def __init__(self, model: torch.nn.Module, config: Mapping[str, Any]) -> None:
        """`config` has the sizes of `model`, which is an AceStepTransformer1DModel."""
        self._model = model
        self.linears: Linears = decoder_linears(config)
        self._layers = int(config["num_hidden_layers"])
        some = next(model.parameters())
        self.device, self._dtype = some.device, some.dtype

    @property
    def width(self) -> int:
        """Bytes of a number in the dtype of the DiT."""
        return self._dtype.itemsize

    @torch.inference_mode()
    def on_device(self, adapter: Adapter) -> DeviceAdapter:
        """`adapter` where the DiT is."""
        return DeviceAdapter(
            identity=adapter.identity,
            layers=tuple(
                {
                    name: change
                    for name in JOINED
                    if (change := self._joined(_matrices(layer, name), adapter.changes))
                }
                for layer in range(self._layers)
            ),
            others={
                name: change
                for name in adapter.changes
                if not name.startswith("layers.") and (change := self._joined([name], adapter.changes))
            },
            lengths={
                name: RowLengths(change.lengths.lengths.to(self.device), change.lengths.rule)
                for name, change in adapter.changes.items()
                if change.lengths is not None
            },
        )

    @torch.inference_mode()
    def mount(self, adapters: Sequence[tuple[DeviceAdapter, float]]) -> Mount | None:
        """The sum of `adapters` at their strengths; None where all of them are 0, which is no adapter.

        Raises JobError for more than one DoRA: how two of them add up is not defined.
        """
        acting = [(adapter, strength) for adapter, strength in adapters if strength != 0]
        if not acting:
            return None
        if sum(bool(adapter.lengths) for adapter, _ in acting) > 1:
            raise JobError("Only one of the adapters of a song may be a DoRA.")
        acting.sort(key=lambda each: not each[0].lengths)
        layers = tuple(
            self._mounted(
                [(adapter, strength, adapter.layers[layer]) for adapter, strength in acting],
                {name: _matrices(layer, name) for name in JOINED},
            )
            for layer in range(self._layers)
        )
        others = self._mounted(
            [(adapter, strength, adapter.others) for adapter, strength in acting],
            {name: [name] for name in self.linears},
        )
        return Mount(layers, others)

    def _joined(self, names: Sequence[str], changes: Mapping[str, MatrixChange]) -> ChangedProduct | None:
        """The change of the matrices `names`, which the forward has joined; None if they have none."""
        downs: list[torch.Tensor] = []
        low_rank: list[LowRankPart] = []
        kronecker: list[KroneckerPart] = []
        rank = 0
        for name, rows in self._rows(names):
            if name not in changes:
                continue
            delta = changes[name].delta
            if isinstance(delta, Kronecker):
                first, second = self._placed(delta.first), self._placed(delta.second.T)
                kronecker.append(KroneckerPart(rows, first, second, delta.scale))
                continue
            ranks = slice(rank, rank + len(delta.down))
            rank = ranks.stop
            downs.append(delta.down)
            low_rank.append(LowRankPart(rows, ranks, self._placed(delta.up.T), delta.scale))
        if not low_rank and not kronecker:
            return None
        down = self._placed(torch.cat(downs)) if downs else None
        return ChangedProduct(down, tuple(low_rank), tuple(kronecker))

    def _placed(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.device, self._dtype, copy=True).contiguous()

    def _mounted(
        self,
        adapters: Sequence[tuple[DeviceAdapter, float, Mapping[str, ChangedProduct]]],
        matrices: Mapping[str, Sequence[str]],
    ) -> Products:
        """The products of `adapters`, each given with its strength and its changes.

        `matrices` has the names in `linears` of those that are joined under a name of the changes.
        """
        mounted: dict[str, tuple[MountedProduct, ...]] = {}
        for adapter, strength, changes in adapters:
            for name, change in changes.items():
                factors, of_change = None, strength
                if adapter.lengths:
                    factors = self._factors(matrices[name], adapter.lengths, change, strength)
                    of_change = next(iter(adapter.lengths.values())).change_strength(strength)
                product = MountedProduct(change, of_change, factors)
                mounted[name] = (*mounted.get(name, ()), product)
        return mounted

    def _factors(
        self,
        matrices: Sequence[str],
        lengths: Mapping[str, RowLengths],
        change: ChangedProduct,
        strength: float,
    ) -> torch.Tensor:
        """The factors of DoRA for the rows of all `matrices`, which are joined."""
        found = []
        for name, rows in self._rows(matrices):
            if name in lengths:
                weight = self._weight(name)
                found.append(lengths[name].factors(weight, _delta(change, rows, weight), strength))
            else:
                found.append(torch.ones(rows.stop - rows.start, device=self.device))
        return torch.cat(found).to(self._dtype)

    def _rows(self, names: Sequence[str]) -> Iterator[tuple[str, slice]]:
        """Each of the joined matrices `names` with its rows."""
        row = 0
        for name in names:
            rows = slice(row, row + self.linears[name][0])
            row = rows.stop
            yield name, rows

    def _weight(self, linear: str) -> torch.Tensor:
        """The DiT's own matrix in float32, a convolution with its kernel flattened."""
        _, name = to_diffusers(f"decoder.{linear}.weight")
        return self._model.get_parameter(name).detach().flatten(1).float()


def _matrices(layer: int, joined: str) -> list[str]:
    return [f"layers.{layer}.{matrix}" for matrix in JOINED[joined]]


def _delta(change: ChangedProduct, rows: slice, like: torch.Tensor) -> torch.Tensor:
    """ΔW, in float32, of the joined matrix at `rows`."""
    for part in change.low_rank:
        if part.rows == rows:
            assert change.down is not None
            return part.scale * (part.up.T.float() @ change.down[part.ranks].float())
    for kronecker in change.kronecker:
        if kronecker.rows == rows:
            second = kronecker.second.T.float().contiguous()
            return kronecker.scale * torch.kron(kronecker.first.float(), second)
    return torch.zeros_like(like)
