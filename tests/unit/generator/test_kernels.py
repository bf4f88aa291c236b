"""The GPU's code path on a CPU: plain operations replace the flash kernel (benchmarks/flash_on_cpu.py)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from benchmarks.dit_config import dit_config
from benchmarks.flash_on_cpu import flash_kernel_on_cpu
from deployments.checkpoints.adapters.reading import Adapter, LowRank, MatrixChange
from deployments.checkpoints.dit_modules import AceStepTransformer1DModel
from deployments.checkpoints.errors import CheckpointError
from deployments.checkpoints.key_map import Component, module_arguments
from deployments.generator.adapters.mounting import Mount
from deployments.generator.attention import FlashAttention, SegmentedAttention
from deployments.generator.forward import PackedTransformer
from deployments.generator.kernels import Kernels, kernels_for
from deployments.generator.trajectory import Condition, Row

WINDOW = 8
CPU = torch.device("cpu")
CONFIG = dit_config(layers=2, width=128) | {"sliding_window": WINDOW}
BATCHES: list[list[tuple[int, float]]] = [
    [(40, 1.0)],
    [(41, 0.5), (64, 0.5)],
    [(30, 1.0), (77, 0.75), (30, 0.25)],
    [(20 + 3 * row, 1.0 - row / 10) for row in range(7)],
]
"""(frames, noise level) of the rows of each batch."""


@pytest.fixture(autouse=True, scope="module")
def one_thread_and_flash_kernel() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with flash_kernel_on_cpu():
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> AceStepTransformer1DModel:
    torch.manual_seed(0)
    made = AceStepTransformer1DModel(**module_arguments(Component.TRANSFORMER, CONFIG))
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize(
    "backend", ["aot_eager_decomp_partition", pytest.param("inductor", marks=pytest.mark.slow)]
)
@torch.inference_mode()
def test_compiled_kernels_find_what_those_written_down_find_and_are_compiled_once(
    model: AceStepTransformer1DModel, backend: str
) -> None:
    torch.compiler.reset()  # Nothing that other tests compiled is reused.
    written = PackedTransformer(model, Kernels.as_written(SegmentedAttention(WINDOW, CPU, torch.float32)))
    compiled = PackedTransformer(model, Kernels.compiled_with(backend, FlashAttention(WINDOW, CPU)))
    compiled.warm_up(with_adapters=True)
    mounts = [None, *(mount_for(compiled, seed) for seed in (1, 2))]
    with torch.compiler.set_stance("fail_on_recompile"):
        for batch in BATCHES:
            plain = rows_of(batch)
            mixed = [with_mount(row, mounts[index % 3]) for index, row in enumerate(plain, start=1)]
            found = [compiled.velocities(rows) for rows in (plain, mixed)]
            for rows, of_rows in zip((plain, mixed), found, strict=True):
                for one, expected in zip(of_rows, written.velocities(rows), strict=True):
                    torch.testing.assert_close(one, expected, atol=2e-5, rtol=1e-4)
            for row, without, one in zip(mixed, *found, strict=True):
                assert torch.equal(one, without) == (row.condition.mount is None)


def mount_for(transformer: PackedTransformer, seed: int) -> Mount:
    """Return a random adapter of every matrix."""
    generator = torch.Generator().manual_seed(seed)
    changes = {
        name: MatrixChange(
            LowRank(
                torch.randn(3, columns, generator=generator), torch.randn(rows, 3, generator=generator), 0.05
            ),
            None,
        )
        for name, (rows, columns) in transformer.mounter.linears.items()
    }
    mount = transformer.mounter.mount([(transformer.mounter.on_device(Adapter(changes, "")), 1.0)])
    assert mount is not None
    return mount


def with_mount(row: Row, mount: Mount | None) -> Row:
    return replace(row, condition=replace(row.condition, mount=mount))


def test_rows_are_like_alone_through_one_attention(model: AceStepTransformer1DModel) -> None:
    transformer = PackedTransformer(model, Kernels.as_written(FlashAttention(WINDOW, CPU)))
    with torch.inference_mode():
        for batch in BATCHES:
            rows = rows_of(batch)
            together = transformer.velocities(rows)
            for row, found in zip(rows, together, strict=True):
                torch.testing.assert_close(found, transformer.velocities([row])[0], atol=2e-5, rtol=1e-4)


def test_a_machine_that_cannot_compile_is_told_what_to_do(model: AceStepTransformer1DModel) -> None:
    def broken(_graph: Any, _inputs: Any) -> Any:
        raise OSError("no compiler here")

    kernels = Kernels.compiled_with(broken, FlashAttention(WINDOW, CPU))
    with torch.inference_mode(), pytest.raises(RuntimeError, match=r"C compiler.*generator\.compiled: false"):
        PackedTransformer(model, kernels).warm_up()


def test_a_cpu_compiles_nothing() -> None:
    assert not kernels_for(CPU, torch.bfloat16, WINDOW).compiled


def test_a_model_with_biases_in_its_attention_is_refused() -> None:
    arguments = module_arguments(Component.TRANSFORMER, CONFIG | {"attention_bias": True})
    with pytest.raises(CheckpointError, match="attention_bias"):
        PackedTransformer(AceStepTransformer1DModel(**arguments))


def rows_of(batch: Sequence[tuple[int, float]]) -> list[Row]:
    generator = torch.Generator().manual_seed(len(batch))

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return [
        Row(normal(frames, 64), level, Condition(normal(5 + index, 128), normal(frames, 128)))
        for index, (frames, level) in enumerate(batch)
    ]
