"""The diffusers classes of the VAE."""

from deployments.checkpoints.bare_packages import bare_packages

with bare_packages(
    "diffusers.models.autoencoders", "diffusers.models.unets", "diffusers.models.transformers"
):
    from diffusers.models.autoencoders.autoencoder_oobleck import (
        AutoencoderOobleck,
        OobleckDiagonalGaussianDistribution,
        Snake1d,
    )

__all__ = ["AutoencoderOobleck", "OobleckDiagonalGaussianDistribution", "Snake1d"]
