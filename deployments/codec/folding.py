"""Work that the VAE would repeat in every call, done once when it is loaded. Exact in float32."""

from typing import Any

import torch
from diffusers import AutoencoderOobleck
from diffusers.models.autoencoders.autoencoder_oobleck import Snake1d
from torch import nn
from torch.nn.utils import remove_weight_norm


class FoldedSnake(nn.Module):
    """diffusers' Snake1d, x + sin²(a·x) / b, with a and 1 / b at hand and less working memory.

    On a CPU it saved a fifth of the decoder's time (docs/performance.md).
    """

    alpha: torch.Tensor
    inverse_beta: torch.Tensor

    def __init__(self, snake: Any) -> None:
        super().__init__()
        alpha, beta = (
            parameter.detach().exp() if snake.logscale else parameter.detach()
            for parameter in (snake.alpha, snake.beta)
        )
        self.register_buffer("alpha", alpha)
        self.register_buffer("inverse_beta", (beta + 1e-9).reciprocal())

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[batch, channels, length] -> the same."""
        squares = (hidden * self.alpha).sin_().square_()
        return torch.addcmul(hidden, self.inverse_beta, squares, out=squares)


def fold(vae: AutoencoderOobleck) -> None:
    """Change `vae`, which should be in float32, for inference only."""
    vae.requires_grad_(False)
    for module in [*vae.modules()]:
        if hasattr(module, "weight_g"):
            remove_weight_norm(module)
        for name, child in module.named_children():
            if isinstance(child, Snake1d):
                setattr(module, name, FoldedSnake(child))
