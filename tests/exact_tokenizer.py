"""An audio tokenizer and its detokenizer that undo each other: the latents of a code have that code again.

The weights of a tiny checkpoint are replaced, not its modules. The six numbers that a code stands for pass
through as six channels. A seventh, which is large and constant, makes the norms of all layers the same for
every code. The pooler, which has one position for a code and five for its frames, takes the mean of all.
"""

import torch
from torch import nn

from deployments.checkpoints.loading import DiTModules

LARGE = 100.0
"""The constant channel. The norms change the others by less than one in a thousand."""
GAIN = 1.25
"""The quantiser's soft clamp pulls numbers towards zero. With this gain each is nearest to its own level."""


@torch.no_grad()
def make_exact(modules: DiTModules) -> None:
    """Set the weights of the tokenizer and the detokenizer."""
    tokenizer, detokenizer = modules.audio_tokenizer, modules.audio_token_detokenizer
    quantizer, pooler = tokenizer.quantizer, tokenizer.attention_pooler
    numbers = len(quantizer.levels)
    hidden = pooler.embed_tokens.in_features
    norm = LARGE / hidden**0.5
    """The norms divide by this."""
    constant = torch.zeros(hidden)
    constant[numbers] = LARGE

    _pass(quantizer.project_out, numbers, bias=constant)
    _pass(detokenizer.embed_tokens, hidden)
    detokenizer.special_tokens.zero_()
    _silence(*detokenizer.layers)
    _pass(detokenizer.proj_out, numbers, gain=norm)

    _pass(tokenizer.audio_acoustic_proj, numbers, bias=constant)
    _pass(pooler.embed_tokens, hidden)
    pooler.special_token.copy_(constant.expand_as(pooler.special_token))
    _silence(*pooler.layers)
    attention = pooler.layers[0].self_attn
    _pass(attention.to_v, numbers)
    frames_and_code = tokenizer.pool_window_size + 1
    _pass(attention.to_out[0], numbers, gain=norm * frames_and_code / tokenizer.pool_window_size)
    _pass(quantizer.project_in, numbers, gain=norm * GAIN)
    for module in (tokenizer, detokenizer):
        for name, parameter in module.named_parameters():
            if "norm" in name:
                parameter.fill_(1.0)


def _pass(layer: nn.Linear, channels: int, gain: float = 1.0, bias: torch.Tensor | None = None) -> None:
    """Let the first channels through, times `gain`, and nothing else."""
    layer.weight.zero_()
    layer.weight[:channels, :channels].fill_diagonal_(gain)
    if layer.bias is not None:
        layer.bias.zero_()
        if bias is not None:
            layer.bias.copy_(bias)


def _silence(*layers: nn.Module) -> None:
    """Let layers change nothing; their attention looks at all positions alike."""
    for layer in layers:
        for weights in (layer.self_attn.to_q, layer.self_attn.to_k, layer.self_attn.to_out[0]):
            weights.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
