"""Latents of the tiny checkpoint's size, and an object store in this process for deployments without Ray."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LATENT_CHANNELS = 8
"""Latent channels of the tiny checkpoint. The official checkpoints have 64."""


def random_latents(frames: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return [frames, LATENT_CHANNELS]."""
    return np.random.default_rng(seed).standard_normal((frames, LATENT_CHANNELS)).astype(np.float32)


@dataclass(frozen=True)
class HeldLatents:
    """A reference that holds the latents themselves."""

    latents: npt.NDArray[np.float32]

    async def read(self) -> npt.NDArray[np.float32]:
        return self.latents


class HeldLatentsStore:
    """Takes the place of `LatentsStore` in a deployment that runs outside Ray."""

    async def put(self, latents: npt.NDArray[np.float32]) -> HeldLatents:
        return HeldLatents(latents)

    async def linger(self) -> None:
        """Return at once: nobody reads from another process."""
