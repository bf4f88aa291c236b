"""vLLM's model class for the 5Hz LM. It differs from vLLM's Qwen3 in two ways.

Some published checkpoints name their weights like a bare Qwen3Model (`embed_tokens.weight`). transformers
loads both spellings, but vLLM's Qwen3 only `model.embed_tokens.weight`.

Most steps write only codes. Two thirds of the official output layer would compute logits that are masked
afterwards, so these steps compute the logits of the codes alone.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from vllm.config import VllmConfig
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm, dispatch_unquantized_gemm
from vllm.model_executor.models.qwen3 import Qwen3ForCausalLM
from vllm.model_executor.models.registry import ModelRegistry
from vllm.platforms import current_platform

from deployments.language_model.vllm_engine.step_range import common_range

ARCHITECTURE = "AceStepLanguageModel"
"""The architecture that the engine loads, whatever the checkpoint's config names."""


class AceStepLanguageModel(Qwen3ForCausalLM):
    """Qwen3 that accepts both spellings of its weights and has a short output layer for steps of codes."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self._code_heads: dict[range, _Head] = {}

    def compute_logits(self, hidden_states: Tensor) -> Tensor:
        """Logits [rows, vocabulary]. If all rows of the step write codes, all other tokens have -inf."""
        codes = common_range(len(hidden_states))
        if codes is None or codes.start == 0:  # text
            every: Tensor = super().compute_logits(hidden_states)
            return every
        if codes not in self._code_heads:
            self._code_heads[codes] = _Head(self.lm_head.weight[codes.start : codes.stop])
        logits = hidden_states.new_full((len(hidden_states), self.config.vocab_size), -torch.inf)
        logits[:, codes.start : codes.stop] = self._code_heads[codes](hidden_states)
        return logits

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        loaded: set[str] = super().load_weights((full_name(name), weight) for name, weight in weights)
        return loaded


class _Head(torch.nn.Module):
    """A part of the output layer. On a CPU it is a copy in the memory order of the CPU's kernel."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight, requires_grad=False)
        if current_platform.is_cpu():
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
