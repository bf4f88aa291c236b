"""Work that the VAE would repeat in every call, done once when it is loaded. The same up to rounding."""

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


class PointwiseConv(nn.Module):
    """A Conv1d of kernel 1 as a matrix product: all threads of a CPU share it; torch has one for each song.

    With two threads it took a quarter to a half of the time (docs/performance.md). No GPU was measured.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()
        self.register_buffer("weight", conv.weight.detach()[:, :, 0].clone())
        self.register_buffer("bias", bias[:, None].clone())

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[batch, channels, length] -> [batch, other channels, length]."""
        return torch.baddbmm(self.bias, self.weight.expand(len(hidden), -1, -1), hidden)


def fold(vae: AutoencoderOobleck) -> None:
    """Change `vae`, which should be in float32, for inference only."""
    vae.requires_grad_(False)
    modules = [*vae.modules()]
    for module in modules:
        if hasattr(module, "weight_g"):
            remove_weight_norm(module)
    for module in modules:
        for name, child in module.named_children():
            if isinstance(child, Snake1d):
                setattr(module, name, FoldedSnake(child))
            elif isinstance(child, nn.Conv1d) and child.kernel_size == (1,):
                setattr(module, name, PointwiseConv(child))
