"""What each deployment takes of a device's memory, from the shapes of its models and its settings.

Plain arithmetic: weights, caches and what is in flight follow from shapes. What does not (the CUDA context,
CUDA graphs, a process by itself) is a constant here that says whether it was measured. docs/gpu_memory.md has
the formulas in words.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from configs.domain import LATENT_RATE, SAMPLES_PER_LATENT
from configs.settings import CodecSettings, GeneratorSettings, LanguageModelSettings

CUDA_CONTEXT = 550_000_000
"""Of each process on a GPU, with the kernels and workspaces of its libraries; estimated."""
CUDA_GRAPHS = 600_000_000
"""vLLM's, of decoding steps; estimated."""
LANGUAGE_MODEL_PROCESS = 1_100_000_000
"""Without what is counted else; on a CPU, measured (docs/performance.md), as the two that follow."""
GENERATOR_PROCESS = 500_000_000
CODEC_PROCESS = 450_000_000
OTHER_PROCESSES = 1_250_000_000
"""The API, the job tracker, Serve's controller and proxy, and Ray's own; on a CPU, measured."""

RESAMPLED_SECONDS = 600
"""Of the longest recording that is resampled on a GPU."""
LARGEST_TENSOR = 2**31 - 1
"""Values that kernels with 32-bit indices can address."""

_TOKENS_A_SECOND = LATENT_RATE / 2
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_SAMPLER_BYTES = 32
"""Of each logit of a step: as float32, sorted, with its place, as a probability, summed, and masked."""
_RESAMPLING_BYTES = 36
"""Of each sample of both channels: in float32, padded, filtered, and rearranged."""
_TILE_TENSORS = 5.5
"""Largest activations of the VAE that are alive at once."""


@dataclass(frozen=True)
class LanguageModelShape:
    """A Qwen3 model whose output layer is its embedding."""

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    kv_heads: int
    head_dim: int
    vocabulary: int

    def cache_bytes(self, dtype: str) -> int:
        """Of the KV cache, a token."""
        return 2 * self.layers * self.kv_heads * self.head_dim * _BYTES[dtype]


@dataclass(frozen=True)
class GeneratorShape:
    """A DiT with its encoders, and the text encoder."""

    parameters: int
    """Of all of them."""
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    takes_guidance: bool


@dataclass(frozen=True)
class CodecShape:
    """A VAE."""

    parameters: int
    channels: int
    """Of its activations at the full sample rate."""


@dataclass(frozen=True)
class Need:
    """Bytes of one replica by what they are for."""

    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())


def language_model_need(shape: LanguageModelShape, settings: LanguageModelSettings, dtype: str) -> Need:
    """Of a replica with the backend vLLM, whose engine runs in the replica's own process.

    `kv_cache_bytes: null` counts as none: vLLM then takes what its share of the GPU leaves.
    """
    width = _BYTES[dtype]
    # Prompts are prefilled whole; the MLP's activations are the largest.
    prefill = settings.max_model_len * width * (3 * shape.intermediate + 3 * shape.hidden)
    logits = settings.max_num_seqs * shape.vocabulary * _SAMPLER_BYTES
    parts = {
        "weights": shape.parameters * width,
        "KV cache": settings.kv_cache_bytes or 0,
        "prompts and logits": prefill + logits,
    }
    if settings.device == "cuda":
        return Need(parts | {"CUDA context and graphs": CUDA_CONTEXT + CUDA_GRAPHS})
    # The output layer is a copy of the embedding, packed for the processor's products.
    packed = shape.vocabulary * shape.hidden * width
    return Need(parts | {"packed vocabulary": packed, "process": LANGUAGE_MODEL_PROCESS})


def generator_need(
    shape: GeneratorShape,
    settings: GeneratorSettings,
    dtype: str,
    longest_seconds: float,
    remembered_tokens: int,
) -> Need:
    """Of a replica that makes songs of up to `longest_seconds`.

    From step to step it keeps keys and values of `remembered_tokens` of texts at most.
    """
    width = _BYTES[dtype]
    keys_values = 2 * shape.layers * shape.kv_heads * shape.head_dim * width
    parts = {
        "weights": shape.parameters * width,
        # A batch of several songs has a copy of those that it needs.
        "texts": 2 * remembered_tokens * keys_values,
        "a step": largest_forward(shape, settings, longest_seconds) * step_bytes(shape, dtype),
    }
    return Need(parts | _process(settings.device, GENERATOR_PROCESS))


def largest_forward(shape: GeneratorShape, settings: GeneratorSettings, longest_seconds: float) -> int:
    """Tokens: a song that is longer than `tokens_per_forward` steps alone."""
    rows = 2 if shape.takes_guidance else 1
    return max(settings.tokens_per_forward, rows * math.ceil(longest_seconds * _TOKENS_A_SECOND))


def step_bytes(shape: GeneratorShape, dtype: str) -> int:
    """Of a token in a forward whose songs are at different steps, without attention's own workspace."""
    modulation = 13 * shape.hidden
    attention = 7 * (shape.heads + shape.kv_heads) * shape.head_dim
    values = modulation + 4 * shape.hidden + max(attention, 2 * shape.intermediate)
    return values * _BYTES[dtype]


def codec_need(shape: CodecShape, settings: CodecSettings, dtype: str) -> Need:
    """Of a replica; waveforms of songs are on the CPU."""
    parts = {
        "weights": shape.parameters * _BYTES[dtype],
        "tiles": math.ceil(_TILE_TENSORS * largest_activation(shape, settings) * _BYTES[dtype]),
    }
    if settings.device == "cuda":
        parts["resampling"] = RESAMPLED_SECONDS * 48_000 * _RESAMPLING_BYTES
    return Need(parts | _process(settings.device, CODEC_PROCESS))


def largest_activation(shape: CodecShape, settings: CodecSettings) -> int:
    """Values of a tensor of all tiles of a forward, at the full sample rate."""
    return settings.tile_batch * settings.tile_frames * SAMPLES_PER_LATENT * shape.channels


def _process(device: str, on_a_cpu: int) -> dict[str, int]:
    return {"CUDA context": CUDA_CONTEXT} if device == "cuda" else {"process": on_a_cpu}
