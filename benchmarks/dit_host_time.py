"""Measures the host time of one DiT step with a model so narrow that its computation takes almost no time.

    python -m benchmarks.dit_host_time --json host_time.json

A GPU waits while the host prepares its next operation. The time is taken on a CPU with a model that has the
layers and heads of the 2B model, but is so narrow, and with songs of so few tokens, that computing takes
almost no time. Attention windows are shorter by the same factor. (The meta device computes nothing, but it
derives shapes in Python, which takes 180 ms a step.) Operations are counted on the meta device in the 2B
model's real shape. The benchmark compares:

- as written: what a CPU runs;
- one attention: what a GPU runs with `generator.compiled: false`;
- compiled: what a GPU runs, compiled for this CPU.

The flash kernel exists on GPUs only. Here its operator returns uninitialised memory.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from benchmarks.dit_shapes import TWO_B, rows_of, shapes_only
from benchmarks.flash_on_cpu import flash_kernel_on_cpu
from benchmarks.measuring import machine, options, running_threads, show, write_json
from configs.domain import LATENT_RATE
from deployments.checkpoints.dit_modules import AceStepTransformer1DModel
from deployments.checkpoints.key_map import Component, module_arguments
from deployments.generator.attention import FlashAttention, SegmentedAttention
from deployments.generator.forward import PackedTransformer
from deployments.generator.kernels import Kernels
from deployments.generator.trajectory import Row

WORKLOADS: dict[str, tuple[Sequence[float], Sequence[float]]] = {
    "one song": ((60.0,), (1.0,)),
    "nine songs": ((20.0, 30.0, 45.0, 60.0, 75.0, 90.0, 120.0, 150.0, 180.0), (1.0, 0.9, 0.7)),
}
"""The seconds of the songs, and the noise levels that they take in turn."""

_SHORTER = 128
"""Factor by which token counts are reduced. An attention window of 128 tokens becomes one of 1."""


def narrow_model(dtype: torch.dtype) -> AceStepTransformer1DModel:
    """Return a model with the 2B model's layers and heads and a width of 32."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 96, "head_dim": 2}
    config = TWO_B | sizes | {"sliding_window": TWO_B["sliding_window"] // _SHORTER}
    model = AceStepTransformer1DModel(**module_arguments(Component.TRANSFORMER, config))
    frozen: AceStepTransformer1DModel = model.to(dtype).eval().requires_grad_(False)
    return frozen


def short_rows(model: AceStepTransformer1DModel, workload: str) -> list[Row]:
    seconds, levels = WORKLOADS[workload]
    return rows_of(model, [max(duration / _SHORTER, 2 / LATENT_RATE) for duration in seconds], levels, 3)


@torch.inference_mode()
def host_milliseconds(transformer: PackedTransformer, rows: Sequence[Row], steps: int) -> float:
    """Return the processor time of one step: the smallest of `steps` measurements."""
    transformer.velocities(rows)  # The first step prepares the batch, which later steps reuse.

    def once() -> float:
        started = time.process_time()
        transformer.velocities(rows)
        return time.process_time() - started

    return 1000 * min(once() for _ in range(steps))


class OperationCount(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that are dispatched inside its block, views included."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))

    def as_one(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` as one operation, which is what it is when compiled."""

        def counted(*args: Any) -> Any:
            self.count += 1
            with _disable_current_modes():
                return function(*args)

        return counted


@torch.inference_mode()
def operations_a_layer(kernels: Callable[[OperationCount], Kernels], workload: str) -> float:
    """Count the operations of one layer in the 2B model's real shape.

    Operations outside the layers do not count.
    """
    seconds, levels = WORKLOADS[workload]
    counts = []
    for layers in (2, 4):
        model = shapes_only(
            TWO_B | {"num_hidden_layers": layers, "layer_types": TWO_B["layer_types"][:layers]}
        )
        mode = OperationCount()
        transformer = PackedTransformer(model, kernels(mode))
        rows = rows_of(model, seconds, levels)
        transformer.velocities(rows)
        mode.count = 0
        with mode:
            transformer.velocities(rows)
        counts.append(mode.count)
    return (counts[1] - counts[0]) / 2


META = torch.device("meta")
CPU = torch.device("cpu")


def counted_ways() -> dict[str, Callable[[OperationCount], Kernels]]:
    window = TWO_B["sliding_window"]

    def compiled(mode: OperationCount) -> Kernels:
        written = Kernels.as_written(FlashAttention(window, META))
        return Kernels(
            written.attention,
            mode.as_one(written.self_attention_inputs),
            mode.as_one(written.cross_attention_inputs),
            mode.as_one(written.layer_output),
            compiled=False,  # There is nothing to warm up.
        )

    return {
        "as written": lambda _: Kernels.as_written(SegmentedAttention(window, META, torch.bfloat16)),
        "one attention": lambda _: Kernels.as_written(FlashAttention(window, META)),
        "compiled": compiled,
    }


def timed_ways(model: AceStepTransformer1DModel, compiles: bool) -> dict[str, PackedTransformer]:
    window = model.config.sliding_window
    flash = FlashAttention(window, CPU)
    ways = {
        "as written": Kernels.as_written(SegmentedAttention(window, CPU, model.dtype)),
        "one attention": Kernels.as_written(flash),
    }
    if compiles:
        ways["compiled"] = Kernels.compiled_with("inductor", flash)
    return {name: PackedTransformer(model, kernels) for name, kernels in ways.items()}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--steps", type=int, default=100, help="the quickest counts")
    chosen = parser.parse_args()
    figures: dict[str, Any] = {**machine(1), "tables": {}}
    with running_threads(1), flash_kernel_on_cpu(compute=False):
        for name in chosen.dtypes:
            model = narrow_model(getattr(torch, name))
            ways = timed_ways(model, compiles=not chosen.quick)
            for transformer in ways.values():
                with torch.inference_mode():
                    transformer.warm_up()
            table = [
                {
                    "way": way,
                    **{
                        f"{workload}, ms": host_milliseconds(
                            transformer, short_rows(model, workload), 3 if chosen.quick else chosen.steps
                        )
                        for workload in WORKLOADS
                    },
                }
                for way, transformer in ways.items()
            ]
            title = f"{name}, processor time of a step"
            figures["tables"][title] = table
            show(title, table)
        operations = [
            {"way": way, **{load: operations_a_layer(kernels, load) for load in WORKLOADS}}
            for way, kernels in counted_ways().items()
        ]
    figures["tables"]["operations a layer"] = operations
    show("operations a layer, views among them, a compiled function as one", operations)
    write_json(chosen.json, figures)


if __name__ == "__main__":
    main()
