"""Latents of the tiny checkpoint's size."""

import numpy as np
import numpy.typing as npt

LATENT_CHANNELS = 8
"""Latent channels of the tiny checkpoint. The official checkpoints have 64."""


def random_latents(frames: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return [frames, LATENT_CHANNELS]."""
    return np.random.default_rng(seed).standard_normal((frames, LATENT_CHANNELS)).astype(np.float32)
