"""Loading checkpoints into modules, from the original and the diffusers layout.

Both layouts give the same modules. Weights are loaded directly onto the device, in the dtype asked for.
"""

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from deployments.checkpoints.catalog import (
    AlignmentHeads,
    Variant,
    alignment_heads,
    dit_config_file,
    variant_of,
)
from deployments.checkpoints.diffusers_layout import DIFFUSERS_STEM, diffusers_arguments, diffusers_part
from deployments.checkpoints.dit_modules import (
    AceStepAudioTokenDetokenizer,
    AceStepAudioTokenizer,
    AceStepConditionEncoder,
    AceStepTransformer1DModel,
)
from deployments.checkpoints.errors import CheckpointError
from deployments.checkpoints.key_map import (
    SILENCE_BUFFER,
    SILENCE_FILE,
    Component,
    module_arguments,
    to_diffusers,
)
from deployments.checkpoints.vae_loading import load_vae
from deployments.checkpoints.weights import (
    module_from,
    read_config,
    read_tensors,
    require_materialised,
    weight_files,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import Qwen3Model

__all__ = [
    "DIFFUSERS_STEM",
    "MODULE_CLASSES",
    "TRANSFORMERS_STEM",
    "DiTModules",
    "diffusers_arguments",
    "load_dit",
    "load_text_encoder",
    "load_tokenizer",
    "load_vae",
    "read_silence",
]

MODULE_CLASSES: dict[Component, type[nn.Module]] = {
    Component.TRANSFORMER: AceStepTransformer1DModel,
    Component.CONDITION_ENCODER: AceStepConditionEncoder,
    Component.AUDIO_TOKENIZER: AceStepAudioTokenizer,
    Component.AUDIO_TOKEN_DETOKENIZER: AceStepAudioTokenDetokenizer,
}

TRANSFORMERS_STEM = "model"
"""The name of weight files in transformers' format, without the numbers of shards and the extension."""


@dataclass(frozen=True)
class DiTModules:
    """The four modules of a DiT checkpoint."""

    variant: Variant
    transformer: AceStepTransformer1DModel
    condition_encoder: AceStepConditionEncoder
    """It has the buffer `silence_latent` [1, 15000, channels]."""
    audio_tokenizer: AceStepAudioTokenizer
    audio_token_detokenizer: AceStepAudioTokenDetokenizer
    alignment_heads: AlignmentHeads = ()
    """The heads of the transformer's cross-attention that follow the lyrics."""


def load_dit(folder: Path, device: str, dtype: torch.dtype) -> DiTModules:
    """The DiT checkpoint in `folder`. Raises CheckpointError."""
    in_diffusers_layout = (folder / Component.TRANSFORMER).is_dir()
    parts = (_diffusers_parts if in_diffusers_layout else _original_parts)(folder, device, dtype)
    modules: dict[Component, Any] = {
        component: module_from(MODULE_CLASSES[component], arguments, state, folder)
        for component, (arguments, state) in parts.items()
    }
    _rebuild_quantizer_tables(modules[Component.AUDIO_TOKENIZER], device)
    transformer, condition_encoder = modules[Component.TRANSFORMER], modules[Component.CONDITION_ENCODER]
    if transformer.config.hidden_size != condition_encoder.config.hidden_size:
        _pool_timbre_from_class_token(condition_encoder.timbre_encoder)
    for module in modules.values():
        require_materialised(module, folder)
    config = read_config(dit_config_file(folder))
    return DiTModules(variant_of(config), **modules, alignment_heads=alignment_heads(config))


def load_text_encoder(folder: Path, device: str, dtype: torch.dtype) -> "Qwen3Model":
    """The Qwen3 text encoder in `folder`, which has transformers' format in both layouts."""
    from transformers import Qwen3Model

    read_config(folder / "config.json")
    weight_files(folder, TRANSFORMERS_STEM)
    model, report = Qwen3Model.from_pretrained(
        folder, dtype=dtype, device_map=device, local_files_only=True, output_loading_info=True
    )
    if report["missing_keys"] or report["mismatched_keys"]:
        raise CheckpointError(f"the weights in {folder} don't fit their config: {report}")
    return model.eval().requires_grad_(False)


def load_tokenizer(folder: Path) -> "Tokenizer":
    """The text encoder's tokenizer: in `folder`, or beside it in `tokenizer/` (diffusers layout)."""
    from tokenizers import Tokenizer

    for candidate in (folder, folder.parent / "tokenizer"):
        file = candidate / "tokenizer.json"
        if file.is_file():
            return Tokenizer.from_file(str(file))
    raise CheckpointError(f"{folder} has no tokenizer.json")


_Parts = dict[Component, tuple[dict[str, Any], dict[str, torch.Tensor]]]


def _original_parts(folder: Path, device: str, dtype: torch.dtype) -> _Parts:
    config = read_config(folder / "config.json")
    parts: _Parts = {component: (module_arguments(component, config), {}) for component in Component}
    for key, tensor in read_tensors(weight_files(folder, TRANSFORMERS_STEM), device, dtype):
        component, renamed = to_diffusers(key)
        parts[component][1][renamed] = tensor
    silence = read_silence(folder / SILENCE_FILE)
    parts[Component.CONDITION_ENCODER][1][SILENCE_BUFFER] = silence.to(device, dtype)
    return parts


def _diffusers_parts(folder: Path, device: str, dtype: torch.dtype) -> _Parts:
    return {component: diffusers_part(folder / component, device, dtype) for component in Component}


def read_silence(file: Path) -> torch.Tensor:
    """The silence latent [1, frames, channels]; `file` holds it transposed. Raises CheckpointError."""
    if not file.is_file():
        raise CheckpointError(f"{file} is missing: every original DiT checkpoint has its own")
    try:
        silence = torch.load(file, map_location="cpu", weights_only=True)
    except (EOFError, RuntimeError, UnpicklingError) as error:
        raise CheckpointError(f"{file} can't be read, it may be incomplete: {error}") from error
    if not isinstance(silence, torch.Tensor) or silence.ndim != 3 or silence.shape[0] != 1:
        raise CheckpointError(f"{file} holds no tensor [1, channels, frames]")
    return silence.transpose(1, 2).contiguous()


def _rebuild_quantizer_tables(audio_tokenizer: AceStepAudioTokenizer, device: str) -> None:
    # The FSQ tables are buffers that are not in the state dict: after loading they are still on the meta
    # device.
    quantizer = audio_tokenizer.quantizer
    fresh = type(quantizer)(audio_tokenizer.config.fsq_dim, quantizer.levels, quantizer.num_quantizers)
    for name, table in fresh.named_buffers():
        setattr(quantizer, name, table.to(device))


class _ClassTokenFirst(nn.Module):
    """Projects reference latents and prepends the learned class token."""

    def __init__(self, projection: nn.Module, class_token: nn.Parameter) -> None:
        super().__init__()
        self.projection = projection
        self.class_token = class_token

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """[batch, frames, channels] -> [batch, 1 + frames, hidden]."""
        embedded = self.projection(latents)
        token = self.class_token.to(embedded.dtype).expand(embedded.shape[0], -1, -1)
        return torch.cat([token, embedded], dim=1)


def _pool_timbre_from_class_token(timbre_encoder: Any) -> None:
    # The original XL model pools its class token, the 2B model its first frame. diffusers always pools the
    # first position.
    timbre_encoder.embed_tokens = _ClassTokenFirst(timbre_encoder.embed_tokens, timbre_encoder.special_token)
