"""vLLM's model class for the 5Hz LM. It differs from vLLM's Qwen3 in three ways.

Some published checkpoints name their weights like a bare Qwen3Model (`embed_tokens.weight`). transformers
loads both spellings, but vLLM's Qwen3 only `model.embed_tokens.weight`.

Most steps write only codes. Two thirds of the official output layer would compute logits that are masked
afterwards, so a step computes only the logits of the token ranges from which its rows draw. On a CPU only
these parts of the output layer are packed for matrix products.

A CPU that computes in float32 keeps weights as 16-bit floats where they lose nothing (half_weights.py).
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from vllm.config import VllmConfig
from vllm.model_executor.layers.linear import UnquantizedLinearMethod
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm, dispatch_unquantized_gemm
from vllm.model_executor.models.qwen3 import Qwen3ForCausalLM
from vllm.model_executor.models.registry import ModelRegistry
from vllm.platforms import current_platform

from deployments.language_model.vllm_engine.half_weights import CpuLinearMethod, half_product
from deployments.language_model.vllm_engine.step_range import ranges_of_step

ARCHITECTURE = "AceStepLanguageModel"
"""The architecture that the engine loads, whatever the checkpoint's config names."""


class AceStepLanguageModel(Qwen3ForCausalLM):
    """Qwen3 that accepts both spellings of its weights and has an output layer in parts."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self._heads: dict[range, _Head] = {}
        """Parts of the output layer by their tokens."""

    def compute_logits(self, hidden_states: Tensor) -> Tensor:
        """Logits [rows, vocabulary]; -inf for tokens that no row of the step may draw."""
        ranges = ranges_of_step(len(hidden_states))
        if ranges is None:  # vLLM's trial run of the model
            every: Tensor = super().compute_logits(hidden_states)
            return every
        logits = hidden_states.new_full((len(hidden_states), self.config.vocab_size), -torch.inf)
        for tokens in ranges:
            if tokens not in self._heads:
                self._heads[tokens] = _Head(self.lm_head.weight[tokens.start : tokens.stop])
            logits[:, tokens.start : tokens.stop] = self._heads[tokens](hidden_states)
        return logits

    def forget_packed_vocabulary(self) -> None:
        """Free the copies, packed for a CPU's products, that vLLM has made of the vocabulary.

        It packs the embedding, which nothing multiplies with, and the whole output layer.
        """
        for layer in (self.model.embed_tokens, self.lm_head):
            layer.cpu_linear = torch.nn.functional.linear

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        loaded: set[str] = super().load_weights((full_name(name), weight) for name, weight in weights)
        if current_platform.is_cpu():
            for layer in self.modules():
                if type(getattr(layer, "quant_method", None)) is UnquantizedLinearMethod:
                    layer.quant_method = CpuLinearMethod()  # packs the layer's weights next
        return loaded


class _Head(torch.nn.Module):
    """A part of the output layer. On a CPU it is a copy in the memory order of the CPU's kernel."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight, requires_grad=False)
        if current_platform.is_cpu():
            if (product := half_product(self.weight)) is not None:
                self.cpu_linear = product
            else:
                dispatch_cpu_unquantized_gemm(self, remove_weight=False)

    def forward(self, hidden_states: Tensor) -> Tensor:
        logits: Tensor = dispatch_unquantized_gemm()(self, hidden_states, self.weight, None)
        return logits


def full_name(name: str) -> str:
    """The name of a weight within the causal model."""
    return name if name.startswith(("model.", "lm_head.")) else f"model.{name}"


def register() -> None:
    """Register the architecture with vLLM, which calls this as entry point `vllm.general_plugins`."""
    ModelRegistry.register_model(ARCHITECTURE, f"{__name__}:{AceStepLanguageModel.__name__}")
