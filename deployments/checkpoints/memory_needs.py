"""The memory that each deployment needs on a device, computed from its models' shapes and its settings.

Weights, caches and activations follow from the shapes. The CUDA context, CUDA graphs and the memory of a bare
process do not: they are constants here, and each says whether it was measured. docs/gpu_memory.md explains
the formulas.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from configs.domain import LATENT_RATE, SAMPLES_PER_LATENT
from configs.settings import CodecSettings, GeneratorSettings, LanguageModelSettings

CUDA_CONTEXT = 550_000_000
"""Bytes of GPU memory per process, with the kernels and workspaces of its libraries; estimated."""
CUDA_GRAPHS = 600_000_000
"""Bytes of vLLM's CUDA graphs for decoding steps; estimated."""
LANGUAGE_MODEL_PROCESS = 1_100_000_000
"""Bytes of the process without what is counted separately. This and the two constants below were measured on
a CPU (docs/history/performance.md)."""
GENERATOR_PROCESS = 500_000_000
CODEC_PROCESS = 450_000_000
OTHER_PROCESSES = 1_250_000_000
"""Bytes of the API, the job tracker, Serve's controller and proxy, and Ray's processes; measured on a CPU."""

LARGEST_TENSOR = 2**31 - 1
"""Number of values that kernels with 32-bit indices can address."""

_TOKENS_A_SECOND = LATENT_RATE / 2
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_SAMPLER_BYTES = 32
"""Bytes per logit of a step: its float32 value, sorted, with its index, as a probability, summed, and
masked."""
_TILE_TENSORS = 5.5
"""Tensors of the size of the VAE's largest activation that exist at the same time."""


@dataclass(frozen=True)
class LanguageModelShape:
    """Sizes of a Qwen3 model whose output layer is its embedding."""

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    kv_heads: int
    head_dim: int
    vocabulary: int

    def cache_bytes(self, dtype: str) -> int:
        """Bytes of the KV cache per token."""
        return 2 * self.layers * self.kv_heads * self.head_dim * _BYTES[dtype]


@dataclass(frozen=True)
class GeneratorShape:
    """Sizes of a DiT with its encoders and the text encoder."""

    parameters: int
    """Parameters of all these models."""
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    takes_guidance: bool


@dataclass(frozen=True)
class CodecShape:
    """Sizes of a VAE."""

    parameters: int
    channels: int
    """Channels of its activations at the full sample rate."""


@dataclass(frozen=True)
class Need:
    """The memory of one replica: bytes by purpose."""

    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())


def language_model_need(shape: LanguageModelShape, settings: LanguageModelSettings, dtype: str) -> Need:
    """The need of a replica with the backend vLLM, whose engine runs in the replica's own process.

    `kv_cache_bytes: null` counts as 0: vLLM then takes what its share of the GPU leaves.
    """
    width = _BYTES[dtype]
    # Prompts are prefilled whole, and the activations of the MLP are the largest.
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
    has_adapters: bool = False,
) -> Need:
    """The need of a replica that makes songs of up to `longest_seconds`.

    Between steps it keeps keys and values of up to `remembered_tokens` tokens of texts, and adapters if the
    server has any.
    """
    width = _BYTES[dtype]
    keys_values = 2 * shape.layers * shape.kv_heads * shape.head_dim * width
    parts = {
        "weights": shape.parameters * width,
        # Twice, because a batch of several songs has a copy of the keys and values that it needs.
        "texts": 2 * remembered_tokens * keys_values,
        "a step": largest_forward(shape, settings, longest_seconds) * step_bytes(shape, dtype),
    }
    if has_adapters:
        parts["adapters"] = settings.adapter_bytes
    return Need(parts | _process(settings.device, GENERATOR_PROCESS))


def largest_forward(shape: GeneratorShape, settings: GeneratorSettings, longest_seconds: float) -> int:
    """Tokens of the largest forward: a song with more than `tokens_per_forward` tokens steps alone.

    A morph has a row for the clip beside that for the song, and guidance doubles the rows. A song whose
    lyrics are timed is looked at in two rows, too.
    """
    rows = 4 if shape.takes_guidance else 2
    return max(settings.tokens_per_forward, rows * math.ceil(longest_seconds * _TOKENS_A_SECOND))


def step_bytes(shape: GeneratorShape, dtype: str) -> int:
    """Bytes per token in a forward whose songs are at different steps, without the workspace of attention."""
    modulation = 13 * shape.hidden
    attention = 7 * (shape.heads + shape.kv_heads) * shape.head_dim
    values = modulation + 4 * shape.hidden + max(attention, 2 * shape.intermediate)
    return values * _BYTES[dtype]


def codec_need(shape: CodecShape, settings: CodecSettings, dtype: str) -> Need:
    """The need of a replica. Waveforms of songs are in the CPU's memory and not counted."""
    parts = {
        "weights": shape.parameters * _BYTES[dtype],
        "tiles": math.ceil(_TILE_TENSORS * largest_activation(shape, settings) * _BYTES[dtype]),
    }
    return Need(parts | _process(settings.device, CODEC_PROCESS))


def largest_activation(shape: CodecShape, settings: CodecSettings) -> int:
    """Number of values in an activation of all tiles of a forward, at the full sample rate."""
    return settings.tile_batch * settings.tile_frames * SAMPLES_PER_LATENT * shape.channels


def _process(device: str, on_a_cpu: int) -> dict[str, int]:
    return {"CUDA context": CUDA_CONTEXT} if device == "cuda" else {"process": on_a_cpu}
