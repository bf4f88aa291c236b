"""Loading the VAE. This module does not import the DiT's classes, which takes long."""

from pathlib import Path

import torch

from deployments.checkpoints.diffusers_layout import diffusers_part
from deployments.checkpoints.vae_modules import AutoencoderOobleck
from deployments.checkpoints.weights import module_from, require_materialised


def load_vae(folder: Path, device: str, dtype: torch.dtype) -> AutoencoderOobleck:
    """The VAE in `folder`, which has diffusers' format in both layouts. Raises CheckpointError."""
    arguments, state = diffusers_part(folder, device, dtype)
    vae = module_from(AutoencoderOobleck, arguments, state, folder)
    require_materialised(vae, folder)
    return vae
