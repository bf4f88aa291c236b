"""Builds the official VAE's architecture with random weights."""

import torch

from deployments.checkpoints.vae_modules import AutoencoderOobleck

CHANNELS = 64
"""Channels of the latents."""


def random_vae(width: int) -> AutoencoderOobleck:
    """Return a VAE with `width` channels at its narrowest. The official one has 128."""
    torch.manual_seed(0)
    vae = AutoencoderOobleck(
        encoder_hidden_size=2 * CHANNELS,
        downsampling_ratios=[2, 4, 4, 6, 10],
        channel_multiples=[1, 2, 4, 8, 16] if width == 128 else [1, 1, 1, 1, 1],
        decoder_channels=width,
        decoder_input_channels=CHANNELS,
        audio_channels=2,
        sampling_rate=48_000,
    )
    return vae.eval().requires_grad_(False)
