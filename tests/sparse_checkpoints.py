"""Checkpoints of any size that take no disk space: headers, and holes in place of weights."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

_BYTES = {"BF16": 2, "F32": 4, "I8": 1}


def write_sparse(file: Path, layout: Mapping[str, tuple[int, ...]], dtype: str = "BF16") -> None:
    """Write a safetensors file of zeros that takes no space on the disk."""
    header, end = {}, 0
    for name, shape in layout.items():
        start, end = end, end + _BYTES[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        opened.truncate(8 + len(text) + end)


def write_sparse_shards(folder: Path, stem: str, layout: Mapping[str, tuple[int, ...]], count: int) -> None:
    """Write the same in `count` files with their index."""
    weight_map = {}
    for shard in range(count):
        name = f"{stem}-{shard + 1:05}-of-{count:05}.safetensors"
        part = {key: shape for index, (key, shape) in enumerate(layout.items()) if index % count == shard}
        write_sparse(folder / name, part)
        weight_map |= dict.fromkeys(part, name)
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
