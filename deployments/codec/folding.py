"""Making the VAE faster when it is loaded; its results stay the same up to rounding.

Computations that every call would repeat are folded into the weights. The VAE then works on [batch, channels,
1, length] with channels last in memory, so that oneDNN need not reorder the inputs and outputs of
convolutions (docs/history/performance.md). This was measured on CPUs only.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils import remove_weight_norm

from deployments.checkpoints.vae_modules import AutoencoderOobleck, Snake1d
from deployments.common.compilation import compiling

PIECE_VALUES = 1 << 18
"""Values of a layer's activations in one piece: 1 MB in float32, half of a server core's cache."""
SHORTEST_PIECE = 8_192
"""Length of the shortest piece, in time steps of the layer."""
_NEGLIGIBLE = 1e-10
"""A snake that adds less than this to a value of 1 is left out: up to values of 1,000 the change is below the
rounding of float32."""


Snake = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def snake(values: torch.Tensor, alpha: torch.Tensor, inverse_beta: torch.Tensor) -> torch.Tensor:
    """Compute x + sin²(a·x) / b for values [samples, channels]; `alpha` and `inverse_beta` are [channels]."""
    return values + inverse_beta * (values * alpha).sin().square()


def compiled_snake(device: str, dtype: torch.dtype, backend: str | Callable[..., Any] = "inductor") -> Snake:
    """Compile `snake` into one kernel for all sizes. Raises RuntimeError if that fails."""
    compiled: Snake = torch.compile(snake, dynamic=True, fullgraph=True, backend=backend)
    # The constants of a layer are made outside of inference mode, and a kernel for others would not be used.
    alpha, inverse_beta = (torch.zeros(8, device=device, dtype=dtype) for _ in range(2))
    with compiling("codec.compiled"), torch.inference_mode():
        compiled(torch.zeros(32, 8, device=device, dtype=dtype), alpha, inverse_beta)
    return compiled


class FoldedSnake(nn.Module):
    """diffusers' Snake1d, x + sin²(a·x) / b, with precomputed a and 1 / b and less working memory.

    On a CPU it saved a fifth of the decoder's time (docs/history/performance.md).
    """

    alpha: torch.Tensor
    inverse_beta: torch.Tensor

    def __init__(self, snake: Any, fused: Snake | None = None) -> None:
        """`fused` computes the activation in one pass; without it several operations of torch do."""
        super().__init__()
        self._fused = fused
        alpha, beta = (
            (parameter.detach().exp() if snake.logscale else parameter.detach())[..., None]
            for parameter in (snake.alpha, snake.beta)
        )
        self.register_buffer("alpha", alpha)
        self.register_buffer("inverse_beta", (beta + 1e-9).reciprocal())

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[batch, channels, 1, length] -> the same."""
        if self._fused is not None:
            samples = hidden.permute(0, 2, 3, 1)  # the order in memory
            rows = samples.reshape(-1, samples.shape[-1])
            found = self._fused(rows, self.alpha.flatten(), self.inverse_beta.flatten())
            return found.reshape(samples.shape).permute(0, 3, 1, 2)
        squares = (hidden * self.alpha).sin_().square_()
        return torch.addcmul(hidden, self.inverse_beta, squares, out=squares)


class PhasedUpsampling(nn.Module):
    """A ConvTranspose1d whose kernel is twice its stride, as a convolution over pairs of neighbouring inputs.

    Each pair gives one output for each of the `stride` phases. With channels last, the phases of a pair are
    contiguous and in the order of time, so that reshaping them into the result copies nothing.
    """

    def __init__(self, conv: nn.ConvTranspose1d) -> None:
        super().__init__()
        stride, self._cut, self._outputs = conv.stride[0], int(conv.padding[0]), conv.out_channels
        newer, older = conv.weight.detach().permute(2, 1, 0).reshape(2, stride * self._outputs, -1)
        bias = None if conv.bias is None else conv.bias.detach().repeat(stride)
        self.pairs = _conv2d(torch.stack([older, newer], dim=-1), bias, padding=1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[batch, channels, 1, length] -> [batch, other channels, 1, about stride × length]."""
        phases: torch.Tensor = self.pairs(hidden).permute(0, 2, 3, 1)
        waves = phases.reshape(len(hidden), 1, -1, self._outputs)
        return waves[:, :, self._cut : waves.shape[2] - self._cut].permute(0, 3, 1, 2)


class UnitsInPieces(nn.Module):
    """Runs residual units in sequence on pieces of time that are small enough for a core's cache.

    Each piece is extended on both sides by the receptive field of the units. In wide layers the pieces would
    be so short that the extension costs more than the cache saves; these layers and GPUs process the whole
    length at once.
    """

    def __init__(self, *units: Any) -> None:
        super().__init__()
        self._units = nn.Sequential(*units)
        self._reach = sum(unit.conv1.padding[0] for unit in units)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[batch, channels, 1, length] -> the same."""
        batch, channels, _, length = hidden.shape
        piece = PIECE_VALUES // (batch * channels)
        if piece < SHORTEST_PIECE or piece >= length or hidden.device.type != "cpu":
            whole: torch.Tensor = self._units(hidden)
            return whole
        result = torch.empty_like(hidden)
        for start in range(0, length, piece):
            stop = min(start + piece, length)
            first, last = max(start - self._reach, 0), min(stop + self._reach, length)
            found = self._units(hidden[..., first:last])
            result[..., start:stop] = found[..., start - first : stop - first]
        return result


def _conv2d(
    weight: torch.Tensor, bias: torch.Tensor | None, stride: int = 1, padding: int = 0, dilation: int = 1
) -> nn.Conv2d:
    """A Conv2d that applies the one-dimensional `weight` [outputs, inputs, length] to one row."""
    outputs, inputs, length = weight.shape
    conv = nn.Conv2d(
        inputs,
        outputs,
        (1, length),
        stride=(1, stride),
        padding=(0, padding),
        dilation=(1, dilation),
        bias=bias is not None,
        device="meta",
    )
    conv.weight = nn.Parameter(weight[:, :, None].contiguous(memory_format=torch.channels_last))
    if bias is not None:
        conv.bias = nn.Parameter(bias)
    return conv


def _row_conv(conv: nn.Conv1d) -> nn.Conv2d:
    bias = None if conv.bias is None else conv.bias.detach()
    return _conv2d(conv.weight.detach(), bias, conv.stride[0], int(conv.padding[0]), conv.dilation[0])


def _units(block: Any) -> tuple[Any, Any, Any]:
    return block.res_unit1, block.res_unit2, block.res_unit3


def _is_idle(unit: Any) -> bool:
    """Whether a residual unit adds nothing, like those of the embedded VAE at 48 kHz."""
    return not (unit.conv2.weight.any() or unit.conv2.bias.any())


def _is_straight(snake: FoldedSnake) -> bool:
    """Whether a snake changes no value that occurs, because (a·x)² / b is negligible."""
    return bool((snake.alpha.abs().max() ** 2 * snake.inverse_beta.abs().max()) < _NEGLIGIBLE)


def fold(vae: AutoencoderOobleck, fused_snake: Snake | None = None) -> None:
    """Change `vae`, which should be in float32, for inference on [batch, channels, 1, length]."""
    modules = [*vae.modules()]
    for module in modules:
        if hasattr(module, "weight_g"):
            remove_weight_norm(module)
    encoding: Any = vae.encoder.block
    decoding: Any = vae.decoder.block
    for block in encoding:
        block.res_unit1, block.res_unit2, block.res_unit3 = (
            nn.Identity() if _is_idle(unit) else unit for unit in _units(block)
        )
    for block in decoding:
        units = [unit for unit in _units(block) if not _is_idle(unit)]
        block.res_unit1 = UnitsInPieces(*units) if units else nn.Identity()
        block.res_unit2 = block.res_unit3 = nn.Identity()
    for module in modules:
        for name, child in module.named_children():
            if isinstance(child, Snake1d):
                folded = FoldedSnake(child, fused_snake)
                setattr(module, name, nn.Identity() if _is_straight(folded) else folded)
            elif isinstance(child, nn.Conv1d):
                setattr(module, name, _row_conv(child))
            elif isinstance(child, nn.ConvTranspose1d):
                setattr(module, name, PhasedUpsampling(child))
    vae.requires_grad_(False)
