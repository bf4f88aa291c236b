"""Adapter files for tests: random ones for the checkpoints of the parity data, and damaged ones."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from deployments.checkpoints.adapters.linears import decoder_linears

CHECKPOINTS = Path(__file__).parent / "data" / "dit" / "ckpt" / "original"
GOLDEN_ADAPTERS = Path(__file__).parent / "data" / "dit_newest" / "adapters"
ATTENTION = tuple(f"{kind}_attn.{part}_proj" for kind in ("self", "cross") for part in "qkvo")
MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
Q = "base_model.model.layers.0.self_attn.q_proj"
"""The beginning of the keys of one matrix, as PEFT writes them."""
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}


def linears_of(variant: str) -> dict[str, tuple[int, int]]:
    """The matrices of a DiT of the parity data."""
    return decoder_linears(json.loads((CHECKPOINTS / f"acestep-v15-{variant}" / "config.json").read_text()))


def write_lora(
    folder: Path,
    name: str,
    seed: int,
    linears: Mapping[str, tuple[int, int]] | None = None,
    rank: int = 4,
    targets: Iterable[str] = ATTENTION,
    strength: float = 0.1,
) -> Path:
    """A random LoRA as PEFT writes it, in a folder called `name`; by default for the turbo DiT."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for linear, (rows, columns) in (linears or linears_of("turbo")).items():
        if not linear.endswith(tuple(targets)):
            continue
        key = f"base_model.model.{linear}"
        tensors[f"{key}.lora_A.weight"] = torch.randn(rank, columns, generator=generator) / columns**0.5
        tensors[f"{key}.lora_B.weight"] = torch.randn(rows, rank, generator=generator) * strength
    own = folder / name
    own.mkdir(parents=True)
    save_file(tensors, own / "adapter_model.safetensors")
    (own / "adapter_config.json").write_text(json.dumps({**CONFIG, "r": rank, "lora_alpha": 2 * rank}))
    return own


def write_tensors(file: Path, tensors: dict[str, torch.Tensor], **metadata: str) -> Path:
    """A file with these tensors."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file, metadata or None)
    return file


def write_header(file: Path, header: Any, content: bytes = b"", length: int | None = None) -> None:
    """A file with this header, which need not be true; `length` is what it says of its own length."""
    written = json.dumps(header).encode()
    size = len(written) if length is None else length
    file.write_bytes(size.to_bytes(8, "little") + written + content)


def pair(rank: int = 4, rows: int = 32, columns: int = 32, key: str = Q) -> dict[str, torch.Tensor]:
    """The two matrices of one low-rank change; the default fits the first matrix of the turbo DiT."""
    return {
        f"{key}.lora_A.weight": torch.ones(rank, columns),
        f"{key}.lora_B.weight": torch.ones(rows, rank),
    }


Write = Callable[[Path], object]
"""Writes a damaged adapter called `bad` into a folder."""


def _file(tensors: dict[str, torch.Tensor], **metadata: str) -> Write:
    return lambda folder: write_tensors(folder / "bad.safetensors", tensors, **metadata)


def _folder(tensors: dict[str, torch.Tensor], config: Any) -> Write:
    def write(folder: Path) -> None:
        write_tensors(folder / "bad" / "adapter_model.safetensors", tensors)
        (folder / "bad" / "adapter_config.json").write_text(
            config if isinstance(config, str) else json.dumps(config)
        )

    return write


def _bytes(content: bytes) -> Write:
    return lambda folder: (folder / "bad.safetensors").write_bytes(content)


def _pickle(folder: Path) -> None:
    torch.save(pair(), folder / "bad.safetensors")


def _old_pickle(folder: Path) -> None:
    torch.save(pair(), folder / "bad.safetensors", _use_new_zipfile_serialization=False)


def _cut(folder: Path) -> None:
    file = write_tensors(folder / "bad.safetensors", pair())
    file.write_bytes(file.read_bytes()[:-10])


def _longer(folder: Path) -> None:
    file = write_tensors(folder / "bad.safetensors", pair())
    file.write_bytes(file.read_bytes() + b"more")


def _huge_header(folder: Path) -> None:
    write_header(folder / "bad.safetensors", {}, length=10 * 10**9)


def _header(header: Any, content: bytes = b"") -> Write:
    return lambda folder: write_header(folder / "bad.safetensors", header, content)


_A = {"dtype": "F32", "shape": [4, 32], "data_offsets": [0, 512]}
_B = {"dtype": "F32", "shape": [32, 4], "data_offsets": [0, 512]}

DAMAGED: dict[str, tuple[Write, str]] = {
    "no bytes": (_bytes(b""), "too short"),
    "text": (_bytes(b"this is no adapter at all"), "no safetensors file"),
    "a pickle": (_pickle, "pickle"),
    "an old pickle": (_old_pickle, "pickle"),
    "a header of 10 GB": (_huge_header, "header of 10000000000 bytes"),
    "cut off": (_cut, "incomplete"),
    "more at the end": (_longer, "goes on after the last tensor"),
    "a header that is no JSON": (_bytes((9).to_bytes(8, "little") + b"not JSON!"), "header is no JSON"),
    "a header that is a list": (_header([]), "no JSON object"),
    "a deep header": (_bytes((60_000).to_bytes(8, "little") + b"[" * 60_000), "header is no JSON"),
    "no tensors": (_header({}), "no tensors"),
    "a tensor without a shape": (_header({f"{Q}.lora_A.weight": {"dtype": "F32"}}), "does not describe"),
    "negative sizes": (
        _header({f"{Q}.lora_A.weight": {**_A, "shape": [-4, -32]}}, bytes(512)),
        "impossible sizes",
    ),
    "overlapping tensors": (
        _header({f"{Q}.lora_A.weight": _A, f"{Q}.lora_B.weight": _B}, bytes(512)),
        "overlaps",
    ),
    "a size that its shape does not have": (
        _header({f"{Q}.lora_A.weight": {**_A, "shape": [4, 33]}}, bytes(512)),
        "takes 512 bytes",
    ),
    "integers": (
        _file({key: tensor.to(torch.int32) for key, tensor in pair().items()}),
        "has the type I32",
    ),
    "no partner": (_file({f"{Q}.lora_A.weight": torch.ones(4, 32)}), "has no partner lora_B"),
    "different ranks": (
        _file({f"{Q}.lora_A.weight": torch.ones(4, 32), f"{Q}.lora_B.weight": torch.ones(32, 5)}),
        "different ranks",
    ),
    "rank 0": (_file(pair(rank=0)), "has rank 0"),
    "rank 300": (_file(pair(rank=300)), "has rank 300"),
    "a vector": (
        _file({f"{Q}.lora_A.weight": torch.ones(4), f"{Q}.lora_B.weight": torch.ones(32, 4)}),
        "no matrix",
    ),
    "one key under two names": (
        _file({**pair(), "layers.0.self_attn.q_proj.lora_A.weight": torch.ones(4, 32)}),
        "twice",
    ),
    "an alpha of several numbers": (_file({**pair(), f"{Q}.alpha": torch.ones(3)}), "no single number"),
    "unknown tensors": (_file({**pair(), "hello.world": torch.ones(1)}), "hello.world are not understood"),
    "another part of the model": (
        _file(pair(key="encoder.layers.0.self_attn.q_proj")),
        "it changes the encoder",
    ),
    "the text encoder": (
        _file(pair(key="text_encoders.qwen.layers.0.self_attn.q_proj")),
        "it changes the text_encoders",
    ),
    "the output layer of a language model": (
        _file(pair(key="base_model.model.lm_head")),
        "it changes the lm_head",
    ),
    "a language model": (
        _file(pair(key="base_model.model.model.layers.0.self_attn.q_proj")),
        "it is for a language model",
    ),
    "ACE-Step 1.0": (_file(pair(key="transformer_blocks.0.attn.to_q")), "ACE-Step 1.0"),
    "LoKr for a convolution": (
        _file({"lycoris_layers_0_mlp_up_proj.lokr_t2": torch.ones(1)}),
        "for a convolution",
    ),
    "half a LoKr": (
        _file({"lycoris_layers_0_mlp_up_proj.lokr_w1": torch.ones(8, 4)}),
        "has no partner lokr_w2",
    ),
    "LoRA and LoKr of one matrix": (
        _file({**pair(), "layers.0.self_attn.q_proj.lokr_w1": torch.ones(4, 4)}),
        "different kinds",
    ),
    "lengths of another matrix": (
        _folder({**pair(), f"{Q}.lora_magnitude_vector": torch.ones(7)}, CONFIG),
        "not one number for each row",
    ),
    "DoRA without lengths": (_folder(pair(), {**CONFIG, "use_dora": True}), "no lora_magnitude_vector"),
    "a config that is no JSON": (_folder(pair(), "{"), "adapter_config.json is no JSON"),
    "a config that is a list": (_folder(pair(), []), "adapter_config.json is wrong"),
    "a config with a text for a number": (_folder(pair(), {**CONFIG, "r": "many"}), "wrong at r"),
    "another type of PEFT": (_folder(pair(), {**CONFIG, "peft_type": "IA3"}), "peft_type is IA3"),
    "biases": (_folder(pair(), {**CONFIG, "bias": "all"}), "uses bias all"),
    "whole modules": (_folder(pair(), {**CONFIG, "modules_to_save": ["x"]}), "modules_to_save"),
    "transposed matrices": (_folder(pair(), {**CONFIG, "fan_in_fan_out": True}), "fan_in_fan_out"),
    "weights that were changed before": (
        _folder(pair(), {**CONFIG, "init_lora_weights": "pissa_niter_4"}),
        "init_lora_weights pissa",
    ),
    "a slow pattern": (
        _folder(pair(), {**CONFIG, "rank_pattern": {"(a+)+$": 4}}),
        "pattern that is not supported",
    ),
    "metadata that is no JSON": (_file(pair(), lora_adapter_metadata="{"), "no JSON"),
}
"""Files whose outline is refused: what is wrong, how to write it, and a part of the message."""
