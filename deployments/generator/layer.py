"""A layer of the DiT: three functions of tensors, with an attention between them.

hidden ─ self_attention_inputs ─ attention ─ cross_attention_inputs ─ attention ─ layer_output ─ hidden

They compute the same as diffusers' AceStepTransformerBlock, for tokens [tokens, hidden] of any rows. A CPU
runs them as they are written; on a GPU each one is compiled, which fuses its small operations. With `adds`
they add the products of the rows' adapters (`adapters.products.adding`).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.nn.functional import silu

from deployments.generator.adapters.products import product
from deployments.generator.elementwise import normed, rotated, unit


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one layer. Projections of the same input are joined in one matrix."""

    modulation: torch.Tensor
    """[1, 6, hidden]: the layer's part of shift, scale and gate for self-attention, then for the MLP."""
    self_norm: torch.Tensor
    queries_keys_values: torch.Tensor
    """[(heads + 2 * kv_heads) * head_dim, hidden]"""
    norm_queries_keys: torch.Tensor
    """[heads + kv_heads, head_dim]: norm weights of queries and keys."""
    self_out: torch.Tensor
    cross_norm: torch.Tensor
    cross_queries: torch.Tensor
    norm_cross_queries: torch.Tensor
    cross_out: torch.Tensor
    mlp_norm: torch.Tensor
    gate_up: torch.Tensor
    """[2 * intermediate, hidden]"""
    down: torch.Tensor
    kv_heads: int
    eps: float
    windowed: bool
    """Whether self-attention only sees tokens within a window."""

    @classmethod
    def of(cls, layer: Any, windowed: bool) -> "LayerWeights":
        """The weights of an AceStepTransformerBlock without biases.

        The block's own weights become views of the joined matrices, so that no weight is stored twice.
        """
        attn, cross, mlp = layer.self_attn, layer.cross_attn, layer.mlp
        norms = [attn.norm_q.weight.data] * attn.heads + [attn.norm_k.weight.data] * attn.kv_heads
        return cls(
            modulation=layer.scale_shift_table.data,
            self_norm=layer.self_attn_norm.weight.data,
            queries_keys_values=_joined(attn.to_q, attn.to_k, attn.to_v),
            norm_queries_keys=torch.stack(norms),
            self_out=attn.to_out[0].weight.data,
            cross_norm=layer.cross_attn_norm.weight.data,
            cross_queries=cross.to_q.weight.data,
            norm_cross_queries=cross.norm_q.weight.data,
            cross_out=cross.to_out[0].weight.data,
            mlp_norm=layer.mlp_norm.weight.data,
            gate_up=_joined(mlp.gate_proj, mlp.up_proj),
            down=mlp.down_proj.weight.data,
            kv_heads=attn.kv_heads,
            eps=attn.norm_q.eps,
            windowed=windowed,
        )


def _joined(*projections: Any) -> torch.Tensor:
    """The weights of linear layers without bias in one matrix; the layers' weights become views of it."""
    weights = torch.cat([projection.weight.data for projection in projections])
    parts = torch.split(weights, [projection.out_features for projection in projections])
    for projection, part in zip(projections, parts, strict=True):
        projection.weight.data = part
    return weights


class TimeEmbedding(NamedTuple):
    """Embeddings of the noise levels of a batch's rows."""

    embedding: torch.Tensor
    """[levels, hidden]"""
    modulation: torch.Tensor
    """[levels, 6, hidden]"""
    level_of_token: torch.Tensor | None
    """[tokens], int64; None if all rows have the same level."""

    def of_tokens(self, of_levels: torch.Tensor) -> torch.Tensor:
        """[levels, hidden] -> [1 or tokens, hidden]"""
        return of_levels if self.level_of_token is None else of_levels[self.level_of_token]


Rotary = tuple[torch.Tensor, torch.Tensor]
"""cos and sin, [tokens, head_dim]."""


def self_attention_inputs(
    weights: LayerWeights, hidden: torch.Tensor, time: TimeEmbedding, rotary: Rotary, adds: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries [tokens, heads, head_dim], and keys and values [tokens, kv_heads, head_dim]."""
    shift, scale = (weights.modulation[:, :2] + time.modulation[:, :2]).unbind(1)
    ready = modulated(hidden, weights.self_norm, scale, shift, time, weights.eps)
    count, head_dim = weights.norm_queries_keys.shape
    joined = product(ready, weights.queries_keys_values, "queries_keys_values", adds)
    heads = joined.reshape(len(ready), -1, head_dim)
    queries_keys, values = torch.split(heads, [count, weights.kv_heads], dim=1)
    turned = rotated(unit(queries_keys, weights.eps).mul_(weights.norm_queries_keys), rotary)
    queries, keys = torch.split(turned, [count - weights.kv_heads, weights.kv_heads], dim=1)
    return queries, keys, values


def cross_attention_inputs(
    weights: LayerWeights,
    hidden: torch.Tensor,
    found: torch.Tensor,
    time: TimeEmbedding,
    adds: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`hidden` plus the self-attention output, and the queries of cross-attention.

    `found` and the queries are [tokens, heads, head_dim].
    """
    gate = time.of_tokens(weights.modulation[:, 2] + time.modulation[:, 2])
    hidden = torch.addcmul(hidden, product(found.flatten(1), weights.self_out, "self_out", adds), gate)
    ready = normed(hidden, weights.cross_norm, weights.eps)
    queries = product(ready, weights.cross_queries, "cross_queries", adds).reshape(found.shape)
    return hidden, normed(queries, weights.norm_cross_queries, weights.eps)


def layer_output(
    weights: LayerWeights,
    hidden: torch.Tensor,
    found: torch.Tensor,
    time: TimeEmbedding,
    adds: bool = False,
) -> torch.Tensor:
    """`hidden` plus the outputs of cross-attention, `found` [tokens, heads, head_dim], and of the MLP."""
    hidden = hidden + product(found.flatten(1), weights.cross_out, "cross_out", adds)
    shift, scale, gate = (weights.modulation[:, 3:] + time.modulation[:, 3:]).unbind(1)
    ready = modulated(hidden, weights.mlp_norm, scale, shift, time, weights.eps)
    # In place, because these activations are the largest tensors of the forward.
    opened, up = product(ready, weights.gate_up, "gate_up", adds).chunk(2, dim=-1)
    projected = product(silu(opened, inplace=True).mul_(up), weights.down, "down", adds)
    return hidden.addcmul_(projected, time.of_tokens(gate))


def modulated(
    hidden: torch.Tensor,
    norm: torch.Tensor,
    scale: torch.Tensor,
    shift: torch.Tensor,
    time: TimeEmbedding,
    eps: float,
) -> torch.Tensor:
    """RMSNorm of [tokens, hidden] with weights `norm`, then `scale` and `shift` [levels, hidden]."""
    factor = time.of_tokens(norm * (1 + scale))
    return torch.addcmul(time.of_tokens(shift), unit(hidden, eps), factor)
