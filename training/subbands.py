"""Initialises the VAE's level at 48 kHz as a filter bank, so that learned layers run at 1.5 kHz and below.

Training at 48 kHz would take most of the time and memory, although subbands can represent the timbres as
well. The outermost convolutions therefore begin as the modified discrete cosine transform (Princen and
Bradley, 1986) of the sum and the difference of both channels, and are trained from there. The layers between
them and the waveform pass signals through unchanged. The checkpoint has the ordinary layout.
"""

import math
from typing import Any

import torch
from torch.nn.functional import conv1d, conv_transpose1d

from configs.domain import AUDIO_CHANNELS
from deployments.checkpoints.vae_modules import AutoencoderOobleck

_LIVE = slice(AUDIO_CHANNELS)
"""Channels in use at 48 kHz: sum and difference. The others stay zero."""
_VANISHING = -16.0
"""Logarithm of a snake's frequency, for which exp(-16)² is negligible beside 1."""
_SMALL_PART = 0.3
_NARROW = -4.0
"""Initial value of a posterior's deviation before softplus, which makes it 0.02."""


@torch.no_grad()
def begin_with_subbands(vae: AutoencoderOobleck) -> None:
    """Set the weights at 48 kHz as the docstring of this module describes."""
    encoder, decoder = _parts(vae)
    outer, inner = encoder.block[0], decoder.block[-1]
    for block in (outer, inner):
        _let_through(block.snake1 if block is outer else decoder.snake1)
        for unit in (block.res_unit1, block.res_unit2, block.res_unit3):
            unit.conv2.weight_g.zero_()
            unit.conv2.bias.zero_()
    middle = encoder.conv1.kernel_size[0] // 2
    for convolution in (encoder.conv1, decoder.conv2):
        weight = torch.zeros_like(convolution.weight_v)
        weight[_LIVE, _LIVE, middle] = _sum_and_difference()
        _set(convolution, weight)
    encoder.conv1.bias.zero_()
    for convolution in (outer.conv1, inner.conv_t1):
        filters = cosine_filters(convolution.stride[0])
        weight = torch.zeros_like(convolution.weight_v)
        weight[: 2 * len(filters), _LIVE] = torch.cat(
            [torch.stack([filters, 0 * filters], 1), torch.stack([0 * filters, filters], 1)]
        )
        spare = weight[2 * len(filters) :, _LIVE]
        spare.normal_(std=0.1 / math.sqrt(AUDIO_CHANNELS * filters.shape[1]))
        _set(convolution, weight)
        convolution.bias.zero_()


@torch.no_grad()
def scale_to(vae: AutoencoderOobleck, waveform: torch.Tensor) -> None:
    """Scale each convolution below 48 kHz to output deviation 1 for music [batch, 2, samples].

    This is data-dependent initialization (Salimans and Kingma, 2016). Without it latents begin as pure noise,
    and hundreds of steps pass before any signal gets through. Residual units begin as a small part of their
    sums, and posteriors begin narrow.
    """
    encoder, decoder = _parts(vae)
    learning = [*encoder.block[1:], encoder.conv2, decoder.conv1, *decoder.block[:-1]]
    units = {unit.conv2 for block in learning for unit in block.modules() if hasattr(unit, "snake2")}
    convolutions = [module for block in learning for module in block.modules() if hasattr(module, "weight_g")]

    def rescale(convolution: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        scale = (_SMALL_PART if convolution in units else 1.0) / output.std()
        convolution.weight_g *= scale
        convolution.bias *= scale
        return scale * output

    hooks = [convolution.register_forward_hook(rescale) for convolution in convolutions]
    means, _ = encode(vae, waveform).chunk(2, dim=1)
    decoded = decode(vae, means)
    for hook in hooks:
        hook.remove()
    deviations = slice(means.shape[1], None)
    encoder.conv2.weight_g[deviations] *= 0.1
    encoder.conv2.bias[deviations] = _NARROW
    decoder.block[-1].conv_t1.weight_g *= _SMALL_PART * waveform.std() / decoded.std()


def cosine_filters(bands: int) -> torch.Tensor:
    """Return [bands, 2 * bands]: windowed cosines. Analysis and synthesis with them reproduce the input."""
    time = torch.arange(2 * bands, dtype=torch.float64)
    band = torch.arange(bands, dtype=torch.float64)[:, None]
    window = torch.sin(math.pi * (time + 0.5) / (2 * bands))
    angles = math.pi / bands * (time + 0.5 + bands / 2) * (band + 0.5)
    return (math.sqrt(2 / bands) * window * torch.cos(angles)).float()


def encode(vae: AutoencoderOobleck, waveform: torch.Tensor) -> torch.Tensor:
    """Return the output of `vae.encoder` for [batch, 2, samples].

    The level at 48 kHz costs one convolution.
    """
    encoder, _ = _parts(vae)
    outer = encoder.block[0].conv1
    mixed = _sum_and_difference().to(waveform) @ waveform
    weight = torch._weight_norm(outer.weight_v[:, _LIVE], outer.weight_g, 0)
    hidden = conv1d(mixed, weight, outer.bias, outer.stride, outer.padding)
    for block in encoder.block[1:]:
        hidden = block(hidden)
    encoded: torch.Tensor = encoder.conv2(encoder.snake1(hidden))
    return encoded


def decode(vae: AutoencoderOobleck, latents: torch.Tensor) -> torch.Tensor:
    """Return the output of `vae.decoder` for [batch, channels, frames], computed in the same way."""
    _, decoder = _parts(vae)
    hidden = decoder.conv1(latents)
    for block in decoder.block[:-1]:
        hidden = block(hidden)
    inner = decoder.block[-1]
    outer = inner.conv_t1
    weight = torch._weight_norm(outer.weight_v[:, _LIVE], outer.weight_g, 0)
    mixed = conv_transpose1d(
        inner.snake1(hidden), weight, outer.bias[_LIVE], outer.stride, outer.padding
    ).float()
    return _sum_and_difference().to(mixed) @ mixed


def _parts(vae: AutoencoderOobleck) -> tuple[Any, Any]:
    return vae.encoder, vae.decoder


def _sum_and_difference() -> torch.Tensor:
    """Return the matrix that maps two channels to sum and difference. It is its own inverse."""
    return torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / math.sqrt(2)


def _let_through(snake: Any) -> None:
    snake.alpha.fill_(_VANISHING)
    snake.beta.zero_()


def _set(convolution: Any, weight: torch.Tensor) -> None:
    """Set a weight-normed weight, in the old form: direction times norm over all but the first dimension."""
    norm = weight.norm(dim=(1, 2), keepdim=True)
    # A weight of zero also needs a direction.
    convolution.weight_v.copy_(torch.where(norm > 0, weight, torch.ones_like(weight)))
    convolution.weight_g.copy_(norm)
