"""The 5Hz LM as vLLM loads it.

Some published checkpoints name their weights as a bare Qwen3Model does (`embed_tokens.weight`), and their
config may say so; transformers loads both spellings, vLLM's Qwen3 only `model.embed_tokens.weight`.
"""

from collections.abc import Iterable

from torch import Tensor
from vllm.model_executor.models.qwen3 import Qwen3ForCausalLM
from vllm.model_executor.models.registry import ModelRegistry

ARCHITECTURE = "AceStepLanguageModel"
"""What the engine is told to load, whatever the checkpoint's config calls itself."""


class AceStepLanguageModel(Qwen3ForCausalLM):
    """Qwen3 with either spelling of its weights."""

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        loaded: set[str] = super().load_weights((full_name(name), weight) for name, weight in weights)
        return loaded


def full_name(name: str) -> str:
    """The name of a weight within the causal model."""
    return name if name.startswith(("model.", "lm_head.")) else f"model.{name}"


def register() -> None:
    """Entry point `vllm.general_plugins`: vLLM calls it in each of its processes."""
    ModelRegistry.register_model(ARCHITECTURE, f"{__name__}:{AceStepLanguageModel.__name__}")
