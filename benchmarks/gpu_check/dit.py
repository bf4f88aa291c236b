"""Measures how exact and how fast the ways to compute a DiT step are on a device."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.dit_shapes import rows_of
from benchmarks.gpu_check.measuring import (
    finish,
    first_milliseconds,
    host_milliseconds,
    kernels,
    milliseconds,
    peak_gigabytes,
)
from benchmarks.gpu_check.sizes import Load, Sizes
from deployments.checkpoints.dit_modules import AceStepTransformer1DModel
from deployments.checkpoints.key_map import Component, module_arguments
from deployments.checkpoints.weights import module_without_weights
from deployments.generator.attention import FlashAttention, SegmentedAttention
from deployments.generator.forward import PackedTransformer
from deployments.generator.kernels import Kernels
from deployments.generator.trajectory import Condition, Row

Figures = dict[str, Any]

H100_FLOPS, H100_BYTES = 989e12, 3.35e12
"""Dense bfloat16 FLOP and bytes of memory a second of an H100, by its datasheet."""
REFERENCE_MS = {
    ("2B", "1 x 60 s"): 2.4,
    ("2B", "1 x 240 s"): 9.9,
    ("2B", "1 x 600 s"): 27.9,
    ("XL", "1 x 60 s"): 6.4,
    ("XL", "1 x 240 s"): 27.0,
}
"""Ideal milliseconds of a step on an H100. They were worked out independently of `step_flops`."""
_TOLERANCE = 1.3
"""Largest error in bfloat16, relative to the error of diffusers' own forward in bfloat16."""


def model_of(config: dict[str, Any], device: torch.device, dtype: torch.dtype) -> AceStepTransformer1DModel:
    """Return the DiT of a config.json with random weights on `device`."""
    arguments = module_arguments(Component.TRANSFORMER, config)
    model: Any = module_without_weights(AceStepTransformer1DModel, arguments)
    model = model.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.fill_(1.0)
        else:
            parameter.normal_(0.0, 0.02)
    made: AceStepTransformer1DModel = model
    return made


def ways(sizes: Sizes, window: int, dtype: torch.dtype) -> dict[str, Kernels]:
    """Return the ways to compute a step. Each one adds one improvement to the one before."""
    flash = FlashAttention(window, sizes.device)
    return {
        "segments": Kernels.as_written(SegmentedAttention(window, sizes.device, dtype)),
        "one attention": Kernels.as_written(flash),
        "compiled": Kernels.compiled_with(sizes.compile_backend, flash),
    }


def noise_rows(model: AceStepTransformer1DModel, load: Load) -> list[Row]:
    def noise(tensor: torch.Tensor) -> torch.Tensor:
        return torch.randn_like(tensor, dtype=torch.float32).to(tensor.dtype)

    torch.manual_seed(1)
    return [
        Row(
            noise(row.latents),
            row.timestep,
            Condition(noise(row.condition.encoder_states), noise(row.condition.context)),
        )
        for row in rows_of(model, load.seconds, load.levels)
    ]


@torch.inference_mode()
def compare_numbers(sizes: Sizes) -> Iterator[Figures]:
    """Compare packed bfloat16 with diffusers' own forward in float32, which computes one row at a time."""
    torch.backends.cuda.matmul.allow_tf32 = False
    loads = [load for load in sizes.loads if sum(load.seconds) <= 800]
    for shape, config in sizes.shapes.items():
        layers = sizes.layers_compared
        config = config | {"num_hidden_layers": layers, "layer_types": config["layer_types"][:layers]}
        exact = model_of(config, sizes.device, torch.float32)
        rounded = model_of(config, sizes.device, torch.bfloat16)
        rounded.load_state_dict(exact.state_dict())
        transformers = {
            way: PackedTransformer(rounded, kernels)
            for way, kernels in ways(sizes, config["sliding_window"], torch.bfloat16).items()
        }
        torch.compiler.reset()  # Nothing that was compiled for another shape is reused.
        for way in list(transformers):
            if problem := _problem_of_warming_up(transformers[way]):
                yield {"model": shape, "way": way, "ok": False, "problem": problem}
                del transformers[way]
        for load in loads:
            rows = noise_rows(rounded, load)
            expected = [_stock(exact, row) for row in rows]
            allowed = _TOLERANCE * _error([_stock(rounded, row) for row in rows], expected)
            for way, transformer in transformers.items():
                together = transformer.velocities(rows)
                alone = [transformer.velocities([row])[0] for row in rows]
                error = _error(together, expected)
                yield {
                    "model": shape,
                    "songs": load.name,
                    "way": way,
                    "error": error,
                    "allowed": allowed,
                    "ok": error <= allowed,
                    "together against alone": _error(together, alone),
                }


def _stock(model: AceStepTransformer1DModel, row: Row) -> torch.Tensor:
    dtype = model.dtype
    frames = row.latents.shape[0]
    missing = -frames % model.patch_size
    latents, context = (
        torch.cat([part, part.new_zeros(missing, part.shape[1])])[None].to(dtype)
        for part in (row.latents, row.condition.context)
    )
    level = torch.tensor([row.timestep], device=model.device, dtype=dtype)
    states = row.condition.encoder_states[None].to(dtype)
    velocity: torch.Tensor = model(latents, level, level, states, context, return_dict=False)[0]
    return velocity[0, :frames].float()


def _error(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """Return the root mean square of the differences, relative to that of the expected values."""
    difference = torch.cat([left - right for left, right in zip(found, expected, strict=True)])
    return float(difference.norm() / torch.cat(list(expected)).norm())


def _problem_of_warming_up(transformer: PackedTransformer) -> str | None:
    """Return the message of a failed compilation, or None.

    All ways that are not compiled are measured nevertheless.
    """
    try:
        transformer.warm_up()
    except RuntimeError as error:
        return str(error)
    return None


@torch.inference_mode()
def time_steps(shape: str, sizes: Sizes) -> Iterator[Figures]:
    """Measure one step of every load in every way.

    The server's own way is measured first, because later rows are left out where time runs short.
    """
    config = sizes.shapes[shape]
    model = model_of(config, sizes.device, torch.bfloat16)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    lengths = iter(sizes.unseen)
    for way, chosen in reversed(ways(sizes, config["sliding_window"], torch.bfloat16).items()):
        transformer = PackedTransformer(model, chosen)
        started = time.monotonic()
        if problem := _problem_of_warming_up(transformer):
            yield {"way": way, "ok": False, "problem": problem}
            continue
        finish(sizes.device)
        warming = time.monotonic() - started
        # On newer GPUs torch prefers cuDNN's attention, which the server turns off.
        for cudnn in (True, False) if way == "segments" else (False,):
            torch.backends.cuda.enable_cudnn_sdp(cudnn)
            transformer.velocities(noise_rows(model, sizes.loads[0]))
            unseen = partial(transformer.velocities, noise_rows(model, Load("unseen", (next(lengths),))))
            once = {
                "first step at an unseen length, ms": first_milliseconds(unseen, sizes.device),
                "and the next, ms": first_milliseconds(unseen, sizes.device),
                "warm-up, s": warming,
            }
            for load in sizes.loads:
                figures = _step(sizes, transformer, noise_rows(model, load), config, weights)
                reference = {"reference, ms": REFERENCE_MS.get((shape, load.name))}
                named = f"{way}, cuDNN" if cudnn else way
                yield {"songs": load.name, "way": named, **figures, **reference, **once}
                transformer.clear_caches()


def _step(
    sizes: Sizes,
    transformer: PackedTransformer,
    rows: Sequence[Row],
    config: dict[str, Any],
    weights: int,
) -> Figures:
    step = partial(transformer.velocities, rows)
    taken = milliseconds(step, sizes.device, sizes.repeats)
    flops = step_flops(
        config,
        [transformer.tokens(row) for row in rows],
        [len(row.condition.encoder_states) for row in rows],
    )
    allocated, reserved = peak_gigabytes(step, sizes.device)
    return {
        "tokens": sum(transformer.tokens(row) for row in rows),
        "ms": taken,
        "host, ms": min(host_milliseconds(step, sizes.device) for _ in range(sizes.repeats)),
        "kernels": kernels(step, sizes.device),
        "H100 roofline, ms": 1000 * max(flops / H100_FLOPS, weights / H100_BYTES),
        "MFU of an H100, %": 100 * flops / H100_FLOPS / (taken / 1000),
        "peak, GB": allocated,
        "reserved, GB": reserved,
    }


def step_flops(config: dict[str, Any], tokens: Sequence[int], keys: Sequence[int]) -> float:
    """Return the FLOPs of a step's matrix products and attentions. Keys of conditions count as cached."""
    hidden, head_dim = config["hidden_size"], config["head_dim"]
    width = config["num_attention_heads"] * head_dim
    kv_width = config["num_key_value_heads"] * head_dim
    projections = hidden * (2 * (width + kv_width) + 2 * width + 3 * config["intermediate_size"])
    reach = 2 * config["sliding_window"] + 1
    windowed = config["layer_types"].count("sliding_attention")
    layers = config["num_hidden_layers"]
    total: float = 2.0 * layers * projections * sum(tokens)
    for count, seen in zip(tokens, keys, strict=True):
        near = windowed * min(reach, count) + (layers - windowed) * count
        total += 4.0 * count * width * (near + layers * seen)
    ends: int = config["patch_size"] * (config["in_channels"] + config["audio_acoustic_hidden_dim"])
    return float(total + 2.0 * hidden * ends * sum(tokens))
