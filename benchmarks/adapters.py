"""The cost of adapters on a CPU, in the official 2B shapes: forwards of songs with and without, and loading.

python -m benchmarks.adapters [--json FILE] [--quick]

Songs have a rank-16 adapter each, all different, of all matrices of attention and MLP. A forward's cost is
its processor time on one thread, of which the smallest of several is shown: other programs change it least.
All layers cost the same, so a DiT of few layers tells the ratio. Loading is measured with all 24 layers:
reading the file, checking its numbers, and preparing the products. Then songs step on one thread while
another loads one adapter after the other.
"""

import json
import statistics
import tempfile
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.dit_config import dit_config
from benchmarks.dit_shapes import TWO_B, rows_of
from benchmarks.measuring import Cost, machine, measured, options, show, write_json
from deployments.checkpoints.adapters.folders import AdapterFile, adapter_files
from deployments.checkpoints.adapters.reading import read_adapter
from deployments.checkpoints.dit_modules import AceStepTransformer1DModel
from deployments.checkpoints.key_map import Component, module_arguments
from deployments.generator.adapters.mounting import Mount, Mounter
from deployments.generator.forward import PackedTransformer

RANK = 16
SONGS = (1, 8)
"""Songs in a forward."""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--layers", type=int, default=2, help="layers of the DiT whose forwards are measured")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each song")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    width, loaded_layers = (256, 2) if given.quick else (2048, TWO_B["num_hidden_layers"])
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        forwards = _forwards(Path(folder), given.layers, width, given.seconds, given.repeats)
        loading = _loading(Path(folder), loaded_layers, given.layers, width, given.seconds, given.repeats)
    tables = {
        "A forward, seconds of processor time": forwards,
        "Loading an adapter, and steps of other songs meanwhile": loading,
    }
    for title, table in tables.items():
        show(title, table)
    write_json(given.json, {**machine(threads=1), "tables": tables})


def _forwards(folder: Path, layers: int, width: int, seconds: float, repeats: int) -> list[dict[str, Any]]:
    model = _model(layers, width)
    transformer = PackedTransformer(model)
    files = _written(folder / "forwards", transformer.mounter, max(SONGS))
    mounts = [_mounted(file, transformer.mounter) for file in files]
    found = []
    for songs in SONGS:
        plain = rows_of(model, [seconds] * songs)
        rows = [
            replace(row, condition=replace(row.condition, mount=mount))
            for row, mount in zip(plain, mounts, strict=False)
        ]
        costs: dict[bool, Cost] = {}
        for _ in range(repeats + 1):  # the first of each prepares what later steps use again
            for has_adapters, of_forward in ((False, plain), (True, rows)):
                cost, _ = measured(partial(transformer.velocities, of_forward))
                costs[has_adapters] = costs.get(has_adapters, cost).best(cost)
        without, with_adapters = (costs[has].processor_seconds for has in (False, True))
        found.append(
            {
                "songs": songs,
                "without": round(without, 3),
                f"each with a rank-{RANK} adapter": round(with_adapters, 3),
                "ratio": round(with_adapters / without, 3),
            }
        )
    return found


def _loading(
    folder: Path, layers: int, forward_layers: int, width: int, seconds: float, repeats: int
) -> list[dict[str, Any]]:
    # The weights are on the meta device: loading an adapter without DoRA does not read them.
    with torch.device("meta"):
        model = _model(layers, width)
    mounter = _CpuMounter(model, dit_config(layers, width))
    files = _written(folder / "loading", mounter, repeats)
    loads = [measured(partial(_mounted, file, mounter))[0] for file in files]
    stepping = _model(forward_layers, width)
    transformer, rows = PackedTransformer(stepping), rows_of(stepping, [seconds])
    alone = _median_step(transformer, rows, repeats)
    stop = threading.Event()

    def load_all() -> None:
        torch.set_num_threads(1)
        while not stop.is_set():
            _mounted(files[0], mounter)

    loader = threading.Thread(target=load_all)
    loader.start()
    beside = _median_step(transformer, rows, repeats)
    stop.set()
    loader.join()
    return [
        {
            "file MB": round(files[0].file_bytes / 1e6, 1),
            "ms": round(1000 * min(load.seconds for load in loads), 1),
            "processor ms": round(1000 * min(load.processor_seconds for load in loads), 1),
            "a step alone, ms": round(1000 * alone, 1),
            "a step beside loading, ms": round(1000 * beside, 1),
        }
    ]


class _CpuMounter(Mounter):
    """Prepares adapters on the CPU for a model without weights."""

    def __init__(self, model: torch.nn.Module, config: dict[str, Any]) -> None:
        super().__init__(model, config)
        self.device = torch.device("cpu")


def _median_step(transformer: PackedTransformer, rows: Any, repeats: int) -> float:
    def step() -> float:
        started = time.perf_counter()
        transformer.velocities(rows)
        return time.perf_counter() - started

    step()
    return statistics.median(step() for _ in range(2 * repeats + 1))


def _model(layers: int, width: int) -> AceStepTransformer1DModel:
    made = AceStepTransformer1DModel(**module_arguments(Component.TRANSFORMER, dit_config(layers, width)))
    frozen: AceStepTransformer1DModel = made.eval().requires_grad_(False)
    return frozen


def _mounted(file: AdapterFile, mounter: Mounter) -> Mount | None:
    adapter = read_adapter(file.content(), file.outline)
    return mounter.mount([(mounter.on_device(adapter), 1.0)])


def _written(folder: Path, mounter: Mounter, count: int) -> list[AdapterFile]:
    """Random adapters of all matrices of attention and MLP, in the form of PEFT."""
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        tensors = {}
        for linear, (rows, columns) in mounter.linears.items():
            if linear.startswith("layers."):
                for name, shape in (("A", (RANK, columns)), ("B", (rows, RANK))):
                    key = f"base_model.model.{linear}.lora_{name}.weight"
                    tensors[key] = 0.01 * torch.randn(shape, generator=generator)
        own = folder / f"adapter{seed}"
        own.mkdir(parents=True)
        save_file(tensors, own / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK}
        (own / "adapter_config.json").write_text(json.dumps(config))
    return list(adapter_files([str(folder)]).values())


if __name__ == "__main__":
    main()
