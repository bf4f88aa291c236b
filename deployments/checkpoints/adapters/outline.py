"""The outline of an adapter: which matrices of the DiT it changes and how, from names and shapes alone.

The form of a file follows from its keys, not from its name, and ranks from the shapes, not from a config.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from deployments.checkpoints.adapters.errors import AdapterError
from deployments.checkpoints.adapters.header import Header, StoredTensor
from deployments.checkpoints.adapters.linears import Linears, linear_named

if TYPE_CHECKING:
    from deployments.checkpoints.adapters.config import PeftConfig

MAX_RANK = 256
_MAX_PRODUCT_RANK = 1_024
"""The largest rank of a LoHa, whose rank is the product of those of its two factors."""
_NAMES_SHOWN = 5

_PARAMETER = re.compile(
    r"(?P<written>.+?)\.(?P<parameter>"
    r"lora_(?:A|B|down|up)(?:\.\w+)?\.weight"
    r"|lora_magnitude_vector(?:\.\w+)*"
    r"|lokr_w[12](?:_[ab])?|lokr_t2|hada_w[12]_[ab]|hada_t[12]|alpha|dora_scale)"
)
_LENGTHS = ("dora_scale", "lora_magnitude_vector")
_LENGTHS_WIDTH = 4
_SAME = {"lora_down": "lora_A", "lora_up": "lora_B"}


class Form(StrEnum):
    """The forms of adapter files."""

    PEFT = "peft"
    LORA = "lora"
    """A single file with an alpha for each matrix, as ComfyUI and other trainers write it."""
    DIFFUSERS = "diffusers"
    LOKR = "lokr"
    LOHA = "loha"


class Decomposition(StrEnum):
    """How DoRA, which gives each row of a matrix its own length, combines with a request's strength."""

    PEFT = "peft"
    """The strength acts on the change before rows get their lengths."""
    LYCORIS = "lycoris"
    """The strength acts on the lengths."""


@dataclass(frozen=True)
class Change:
    """How a file changes one matrix."""

    linear: str
    keys: Mapping[str, str]
    """The kind of a tensor (`lora_A`, `lokr_w1`, `alpha` …) -> its key in the file."""
    shape: tuple[int, int]
    """Rows and columns of the matrix that it fits."""
    rank: int | None
    """None where both factors of a LoKr are whole matrices."""
    scale: float | None
    """The factor of the change; None where the file's alpha decides it."""
    numbers: int
    """Numbers of the factors in memory, where those of a LoKr are whole and those of a LoHa are one pair."""

    @property
    def is_lokr(self) -> bool:
        return any(kind.startswith("lokr") for kind in self.keys)

    @property
    def is_loha(self) -> bool:
        return "hada_w1_a" in self.keys

    def scaled_by(self, alpha: float) -> float:
        """The factor of the change under the file's alpha."""
        if self.scale is not None:
            return self.scale
        assert self.rank is not None
        return alpha / self.rank


@dataclass(frozen=True)
class Outline:
    """All changes of an adapter."""

    form: Form
    changes: tuple[Change, ...]
    decomposition: Decomposition | None
    """None for an adapter without DoRA."""
    parameters: int
    warnings: tuple[str, ...]

    @property
    def rank(self) -> int | None:
        """The largest rank; None where nothing in the file has a rank."""
        return max((change.rank for change in self.changes if change.rank), default=None)

    def loaded_bytes(self, width: int) -> int:
        """Bytes in memory, with `width` bytes for each number; at most, because zeros are left out."""
        changes = sum(change.numbers for change in self.changes)
        rows = sum(change.shape[0] for change in self.changes) if self.decomposition else 0
        return changes * width + rows * _LENGTHS_WIDTH

    @property
    def targets(self) -> tuple[str, ...]:
        """The matrices without the numbers of their layers."""
        return tuple(dict.fromkeys(re.sub(r"layers\.\d+\.", "", change.linear) for change in self.changes))


def outline_of(header: Header, config: "PeftConfig | None" = None) -> Outline:
    """The outline of the file with `header`; `config` is that of a PEFT folder.

    Raises AdapterError, which names the tensors that are not understood or do not belong together.
    """
    grouped = _grouped(header.tensors)
    is_diffusers = any(".to_out.0" in key or ".to_q." in key for key in header.tensors)
    # Configs are parsed by pydantic, which the forward's own modules do without.
    from deployments.checkpoints.adapters.config import diffusers_config

    strengths = config or diffusers_config(header.metadata)
    changes = tuple(
        _change(linear, keys, header.tensors, strengths) for linear, keys in sorted(grouped.items())
    )
    kinds = {kind for change in changes for kind in change.keys}
    _check_lengths(changes)
    warnings = []
    if strengths is None and any("lora_A" in c.keys and "alpha" not in c.keys for c in changes):
        warnings.append(
            "It names no alpha, so its matrices are used as they are. If it was trained with one "
            "(adapter_config.json), it may sound too weak; raise its scale then."
        )
    return Outline(
        form=_form(kinds, config, is_diffusers),
        changes=changes,
        decomposition=_decomposition(kinds, strengths),
        parameters=sum(math.prod(tensor.shape) for tensor in header.tensors.values()),
        warnings=tuple(warnings),
    )


def misfits(outline: Outline, linears: Linears) -> Iterator[str]:
    """Yield one phrase for each matrix of an adapter that does not fit a DiT with `linears`."""
    for change in outline.changes:
        key = next(key for kind, key in change.keys.items() if kind != "alpha")
        if (wanted := linears.get(change.linear)) is None:
            yield f"{key} changes {change.linear}, which the model does not have"
        elif wanted != change.shape:
            yield f"{key} is for a matrix {list(change.shape)}, and the model's is {list(wanted)}"


def _grouped(tensors: Mapping[str, StoredTensor]) -> dict[str, dict[str, str]]:
    """The keys of each matrix by kind. Raises AdapterError."""
    grouped: dict[str, dict[str, str]] = {}
    unknown = []
    for key in tensors:
        found = _PARAMETER.fullmatch(key)
        linear = linear_named(found["written"] if found else key)
        if found is None or linear is None:
            unknown.append(key)
            continue
        kind = found["parameter"].split(".")[0]
        keys = grouped.setdefault(linear, {})
        if keys.setdefault(_SAME.get(kind, kind), key) != key:
            raise AdapterError(f"{key} is in its file twice, also as {keys[_SAME.get(kind, kind)]}")
    if unknown:
        shown = ", ".join(name[:100] for name in unknown[:_NAMES_SHOWN])
        more = f" and {len(unknown) - _NAMES_SHOWN} more" if len(unknown) > _NAMES_SHOWN else ""
        raise AdapterError(f"its tensors {shown}{more} are not understood")
    if not grouped:
        raise AdapterError("its file holds no tensors")
    return grouped


def _change(
    linear: str, keys: Mapping[str, str], tensors: Mapping[str, StoredTensor], config: "PeftConfig | None"
) -> Change:
    shapes = {kind: tensors[key].shape for kind, key in keys.items()}
    for kind in ("lokr_t2", "hada_t1", "hada_t2"):
        if kind in keys:
            raise AdapterError(f"{keys[kind]} is for a convolution, which is not supported")
    kinds = set(keys) - {"alpha", *_LENGTHS}
    rank: int | None
    scale: float | None = None
    if kinds <= {"lora_A", "lora_B"}:
        down, up = _pair("lora_A", "lora_B", keys, shapes)
        rank, shape = down[0], (up[0], down[1])
        numbers = rank * sum(shape)
        if "alpha" not in keys:
            scale = config.scale(linear, rank) if config else 1.0
    elif all(kind.startswith("lokr") for kind in kinds):
        (rows1, columns1), rank1 = _factor("lokr_w1", keys, shapes)
        (rows2, columns2), rank2 = _factor("lokr_w2", keys, shapes)
        shape, rank = (rows1 * rows2, columns1 * columns2), rank2 or rank1
        scale = 1.0 if rank is None or "alpha" not in keys else None
        numbers = rows1 * columns1 + rows2 * columns2
    elif all(kind.startswith("hada") for kind in kinds):
        first, rank1 = _factor("hada_w1", keys, shapes)
        second, rank2 = _factor("hada_w2", keys, shapes)
        if first != second or rank1 != rank2:
            raise AdapterError(f"{_first(keys)} and the other factor of its matrix have different shapes")
        rank, shape = rank1, first
        numbers = (rank or 0) ** 2 * sum(shape)
        if (rank or 0) ** 2 > _MAX_PRODUCT_RANK:
            raise AdapterError(
                f"{_first(keys)} has rank {rank}; of LoHa up to {math.isqrt(_MAX_PRODUCT_RANK)} is supported"
            )
        scale = None if "alpha" in keys else 1.0
    else:
        raise AdapterError(f"{_first(keys)} and its neighbours are of different kinds of adapters")
    if rank is not None and not 0 < rank <= MAX_RANK:
        raise AdapterError(f"{_first(keys)} has rank {rank}; 1 to {MAX_RANK} is supported")
    if 0 in shape:
        raise AdapterError(f"{_first(keys)} is empty")
    if "alpha" in keys and math.prod(shapes["alpha"]) != 1:
        raise AdapterError(f"{keys['alpha']} is no single number")
    for kind in _LENGTHS:
        if kind in keys and (math.prod(shapes[kind]) != shape[0] or shapes[kind][:1] != (shape[0],)):
            found = list(shapes[kind])
            raise AdapterError(f"{keys[kind]} has the shape {found}, not one number for each row")
    return Change(linear, dict(keys), shape, rank, scale, numbers)


def _factor(
    name: str, keys: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[tuple[int, int], int | None]:
    """The shape of a factor, and its rank where it is the product of two matrices."""
    if name in keys:
        if f"{name}_a" in keys or f"{name}_b" in keys:
            raise AdapterError(f"{keys[name]} is in its file both whole and in two parts")
        return _flat(keys[name], shapes[name]), None
    right, left = _pair(f"{name}_b", f"{name}_a", keys, shapes)
    return (left[0], right[1]), right[0]


def _pair(
    right: str, left: str, keys: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The shapes of two matrices that are multiplied, `left` @ `right`: first that of `right`."""
    for wanted, other in ((right, left), (left, right)):
        if wanted not in keys:
            raise AdapterError(f"{keys.get(other, _first(keys))} has no partner {wanted}")
    first, second = (_flat(keys[kind], shapes[kind]) for kind in (right, left))
    if second[1] != first[0]:
        raise AdapterError(
            f"{keys[left]} {list(shapes[left])} and {keys[right]} {list(shapes[right])} have different ranks"
        )
    return first, second


def _flat(key: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """The shape of a matrix, or of a convolution with its kernel flattened. Raises AdapterError."""
    if not 2 <= len(shape) <= 3:
        raise AdapterError(f"{key} has the shape {list(shape)}, which is no matrix")
    return shape[0], math.prod(shape[1:])


def _first(keys: Mapping[str, str]) -> str:
    return next(iter(keys.values()))


def _check_lengths(changes: Sequence[Change]) -> None:
    """Raises AdapterError for an adapter that is a DoRA in some of its matrices only."""
    without = [change for change in changes if not change.keys.keys() & {*_LENGTHS}]
    if 0 < len(without) < len(changes):
        raise AdapterError(f"{_first(without[0].keys)} has no lengths of DoRA, and other matrices have")


def _form(kinds: set[str], config: "PeftConfig | None", is_diffusers: bool) -> Form:
    if any(kind.startswith("lokr") for kind in kinds):
        return Form.LOKR
    if "hada_w1_a" in kinds:
        return Form.LOHA
    if config is not None:
        return Form.PEFT
    return Form.DIFFUSERS if is_diffusers else Form.LORA


def _decomposition(kinds: set[str], config: "PeftConfig | None") -> Decomposition | None:
    by_peft = "lora_magnitude_vector" in kinds
    if by_peft and "dora_scale" in kinds:
        raise AdapterError("it has the DoRA of PEFT and that of LyCORIS in one file")
    if config is not None and config.use_dora and not by_peft:
        raise AdapterError("its adapter_config.json says DoRA, and its file has no lora_magnitude_vector")
    if by_peft:
        return Decomposition.PEFT
    return Decomposition.LYCORIS if "dora_scale" in kinds else None
