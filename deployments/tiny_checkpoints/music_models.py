"""Building tiny checkpoints in the original layout: real structure, real VAE ratios, random weights.

They are for tests that need only shapes: the whole server runs on them, but their songs are noise.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from configs.domain import AUDIO_CHANNELS, SAMPLE_RATE, SAMPLES_PER_LATENT
from deployments.checkpoints.catalog import ALIGNMENT_HEADS
from deployments.checkpoints.key_map import SILENCE_FILE, Component, module_arguments, to_original
from deployments.checkpoints.loading import MODULE_CLASSES
from deployments.checkpoints.vae_modules import AutoencoderOobleck
from deployments.tiny_checkpoints.tokenizer import save_tokenizer, train_tokenizer

SILENCE_FRAMES = 15_000
"""Frames of the silence latent that comes with every DiT checkpoint (600 s)."""

_LATENT_CHANNELS = 8
_TEXT_HIDDEN_SIZE = 32
_HIDDEN_SIZE = 32
_DIT_LAYERS = 4
_TEXT_VOCABULARY = 640
_CALIBRATION_FRAMES = 8
_LOUDNESS = 0.15
"""Root mean square of the noise that the VAE is calibrated on; full scale is ±1."""

_DIT_CONFIG: dict[str, Any] = {
    "random_weights": True,
    "architectures": ["AceStepConditionGenerationModel"],
    "model_type": "acestep",
    "model_version": "turbo",
    "is_turbo": True,
    "dtype": "float32",
    "hidden_size": _HIDDEN_SIZE,
    "intermediate_size": 2 * _HIDDEN_SIZE,
    "num_hidden_layers": _DIT_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "layer_types": ["sliding_attention", "full_attention"] * (_DIT_LAYERS // 2),
    "use_sliding_window": True,
    "sliding_window": 16,
    "rope_theta": 1_000_000,
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "in_channels": 3 * _LATENT_CHANNELS,
    "patch_size": 2,
    "audio_acoustic_hidden_dim": _LATENT_CHANNELS,
    "timbre_hidden_dim": _LATENT_CHANNELS,
    "timbre_fix_frame": 750,
    "text_hidden_dim": _TEXT_HIDDEN_SIZE,
    "num_lyric_encoder_hidden_layers": 2,
    "num_timbre_encoder_hidden_layers": 2,
    "num_attention_pooler_hidden_layers": 2,
    "pool_window_size": 5,
    "fsq_dim": _HIDDEN_SIZE,
    "fsq_input_levels": [8, 8, 8, 5, 5, 5],
    "fsq_input_num_quantizers": 1,
    ALIGNMENT_HEADS: {"1": [0, 3], "2": [1], "3": [2]},
}

_VAE_CONFIG: dict[str, Any] = {
    "_class_name": "AutoencoderOobleck",
    "audio_channels": AUDIO_CHANNELS,
    "channel_multiples": [1, 1, 2, 2, 2],
    "decoder_channels": 8,
    "decoder_input_channels": _LATENT_CHANNELS,
    "downsampling_ratios": [2, 4, 4, 6, 10],
    "encoder_hidden_size": 2 * _LATENT_CHANNELS,
    "sampling_rate": SAMPLE_RATE,
}


def build_dit(folder: Path) -> None:
    """Writes a turbo DiT checkpoint of about 180 k parameters into the empty `folder`."""
    write_random_dit(folder, _DIT_CONFIG, random_vae(_VAE_CONFIG))


def build_vae(folder: Path) -> None:
    """Writes a VAE with the real hop of 1920 samples into the empty `folder`."""
    write_random_vae(folder, _VAE_CONFIG)


def build_text_encoder(folder: Path) -> None:
    """Writes a Qwen3 text encoder and its tokenizer into the empty `folder`."""
    sizes = {
        "hidden_size": _TEXT_HIDDEN_SIZE,
        "intermediate_size": 2 * _TEXT_HIDDEN_SIZE,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    write_random_text_encoder(folder, sizes)


def write_random_dit(folder: Path, config: dict[str, Any], vae: AutoencoderOobleck) -> None:
    """Writes a DiT checkpoint of the original layout; its silence latent is computed by `vae`."""
    state: dict[str, torch.Tensor] = {}
    for seed, component in enumerate(Component):
        module = MODULE_CLASSES[component](**module_arguments(component, config))
        _randomise(module, seed)
        state |= {
            to_original(component, key): tensor
            for key, tensor in module.state_dict().items()
            if key != "silence_latent"
        }
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    torch.save(_silence_latent(vae), folder / SILENCE_FILE)
    _write_config(folder, config)


def write_random_vae(folder: Path, config: dict[str, Any]) -> None:
    """Writes a VAE in diffusers' format."""
    state = random_vae(config).state_dict()
    save_file(state, folder / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    _write_config(folder, config)


def write_random_text_encoder(folder: Path, sizes: dict[str, int]) -> None:
    """Writes a Qwen3 text encoder of these sizes with the small tokenizer."""
    from transformers import Qwen3Config, Qwen3Model

    tokenizer = train_tokenizer(_TEXT_VOCABULARY)
    config = Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(),
        **sizes,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        architectures=["Qwen3Model"],
        dtype="float32",
        random_weights=True,
    )
    model = Qwen3Model(config)
    _randomise(model, seed=20)
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)


@torch.no_grad()
def random_vae(config: dict[str, Any]) -> AutoencoderOobleck:
    """A VAE that encodes noise to latents of standard deviation 1, and decodes noise to an audible level."""
    vae = AutoencoderOobleck(**{key: value for key, value in config.items() if not key.startswith("_")})
    _randomise(vae, seed=10)
    generator = torch.Generator().manual_seed(11)
    samples = _CALIBRATION_FRAMES * SAMPLES_PER_LATENT
    waveform = _LOUDNESS * torch.randn(1, AUDIO_CHANNELS, samples, generator=generator)
    latents = vae.encode(waveform).latent_dist.mode()
    _scale(vae.encoder.conv2, 1.0 / latents.std())
    decoded = vae.decode(torch.randn(latents.shape, generator=generator)).sample
    _scale(vae.decoder.conv2, _LOUDNESS / decoded.std())
    return vae.eval()


def _scale(convolution: nn.Module, factor: torch.Tensor) -> None:
    for name, parameter in convolution.named_parameters():
        if name in ("weight_g", "bias"):
            parameter.mul_(factor)


@torch.no_grad()
def _silence_latent(vae: AutoencoderOobleck) -> torch.Tensor:
    """The VAE's latent of silence, away from the edges: [1, channels, SILENCE_FRAMES]."""
    context = 8  # frames; the receptive field of the encoder is 7 to each side
    silence = torch.zeros(1, AUDIO_CHANNELS, (2 * context + 1) * SAMPLES_PER_LATENT)
    latents: torch.Tensor = vae.encode(silence).latent_dist.mode()
    return latents[:, :, context : context + 1].repeat(1, 1, SILENCE_FRAMES)


@torch.no_grad()
def _randomise(module: nn.Module, seed: int) -> None:
    """Draw every weight from `seed`, in the order of names, scaled so that activations stay near one."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(module.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("weight_g"):
            parameter.fill_(1.0)
        elif parameter.ndim == 1 and name.endswith("weight"):  # of a norm
            parameter.copy_(1.0 + 0.1 * noise)
        elif parameter.ndim == 1 or "table" in name or "snake" in name:
            parameter.copy_(0.1 * noise)
        elif "token" in name or name == "null_condition_emb":
            parameter.copy_(noise)
        else:
            parameter.copy_(noise / parameter[0].numel() ** 0.5)


def _write_config(folder: Path, config: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
