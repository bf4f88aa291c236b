"""One forward of the DiT for rows of any lengths, laid end to end: nothing is padded.

All of the model but its attention looks at single tokens, so rows of different lengths share its matrix
products as if they were one long row; attention takes them apart again. The modules are diffusers', called
in the order of AceStepTransformer1DModel.forward, which has no way to keep rows of different lengths apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock, get_ident
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from torch.nn.functional import linear, pad, silu

from deployments.checkpoints.dit_modules import AceStepTransformer1DModel
from deployments.generator.attention import PackedAttention, Segment, segments_of
from deployments.generator.elementwise import modulated, normed, rotated, unit
from deployments.generator.trajectory import Condition, Row

REMEMBERED_TOKENS = 16_384
"""Of conditions: their keys and values take 2 GB in the XL model, 3 GB in float32 in the 2B one."""

_KeysValues = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class _Batch:
    """What stays the same from step to step while the same rows go together. Rows are in packed order."""

    conditions: tuple[Condition, ...]
    """Of the rows in the caller's order: by them the batch is recognised."""
    order: tuple[int, ...]
    """Which of the caller's rows stands where; rows of one length are neighbours."""
    frames: tuple[int, ...]
    tokens: tuple[int, ...]
    context: torch.Tensor
    """[patch_size * tokens, 2 * channels]"""
    among_themselves: tuple[Segment, ...]
    towards_conditions: tuple[Segment, ...]
    rotary: tuple[torch.Tensor, torch.Tensor]
    """cos and sin, [tokens, head_dim]"""
    condition_keys_values: tuple[_KeysValues, ...]
    """Of each layer's cross-attention, [condition tokens of all rows, kv_heads, head_dim]."""


@dataclass(frozen=True)
class _FusedLayer:
    """A layer whose projections of one input are one matrix; the layer's own weights become views of it."""

    layer: Any
    queries_keys_values: torch.Tensor
    """[(heads + 2 * kv_heads) * head_dim, hidden]"""
    gate_up: torch.Tensor
    """[2 * intermediate, hidden]"""
    norm_queries_keys: torch.Tensor
    """[heads + kv_heads, head_dim]: weights of the norms of queries and keys."""

    @classmethod
    def of(cls, layer: Any) -> "_FusedLayer":
        attn, mlp = layer.self_attn, layer.mlp
        norms = [attn.norm_q.weight.data] * attn.heads + [attn.norm_k.weight.data] * attn.kv_heads
        return cls(
            layer,
            _fused(attn.to_q, attn.to_k, attn.to_v),
            _fused(mlp.gate_proj, mlp.up_proj),
            torch.stack(norms),
        )


def _fused(*projections: Any) -> torch.Tensor:
    """The weights of linear layers without bias in one matrix, which they share from now on."""
    weights = torch.cat([projection.weight.data for projection in projections])
    parts = torch.split(weights, [projection.out_features for projection in projections])
    for projection, part in zip(projections, parts, strict=True):
        projection.weight.data = part
    return weights


class PackedTransformer:
    """Velocities of many rows in one forward.

    What a row needs at each of its steps is computed once, and so is what a batch needs while the same rows
    go together.
    """

    def __init__(self, transformer: AceStepTransformer1DModel) -> None:
        self._model: Any = transformer
        self._layers = [_FusedLayer.of(layer) for layer in self._model.layers]
        self._attention = PackedAttention(transformer.config.sliding_window, self.device, self.dtype)
        self._batches: dict[int, _Batch] = {}
        """The last one of each thread that has forwards."""
        self._lock = Lock()
        """Of what all threads remember together."""
        self._keys_values: WeakKeyDictionary[Condition, tuple[_KeysValues, ...]] = WeakKeyDictionary()
        """Of each layer's cross-attention, in the order in which they were last asked for."""

    @property
    def device(self) -> torch.device:
        device: torch.device = self._model.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self._model.dtype
        return dtype

    def tokens(self, row: Row) -> int:
        """What `row` adds to each forward; its condition's keys and values are computed once for a batch."""
        return -(-row.latents.shape[0] // self.patch_size)

    def forget(self) -> None:
        """Free what is remembered of the last batches."""
        self._batches.clear()

    def forget_conditions(self) -> None:
        """Free all that is remembered."""
        self.forget()
        with self._lock:
            self._keys_values.clear()

    def velocities(self, rows: Sequence[Row]) -> list[torch.Tensor]:
        """The velocity [frames, channels] in float32 of each row."""
        batch = self._batch_of(rows)
        packed_rows = [rows[index] for index in batch.order]
        embedding, modulation = self._time(packed_rows, batch)
        latents = self._pack([row.latents.to(self.dtype) for row in packed_rows])
        hidden = self._model.proj_in_conv(torch.cat([batch.context, latents], -1).T[None])[0].T.contiguous()
        windowed = [kind == "sliding_attention" for kind in self._model.layer_types]
        for layer, keys_values, near in zip(self._layers, batch.condition_keys_values, windowed, strict=True):
            hidden = self._layer(layer, hidden, modulation, batch, keys_values, near)
        shift, scale = (self._model.scale_shift_table + embedding[:, None]).unbind(1)
        hidden = self._model.norm_out(hidden) * (1 + scale) + shift
        predicted = self._model.proj_out_conv(hidden.T[None])[0].T.float()
        return self._unpack(predicted, batch)

    @property
    def patch_size(self) -> int:
        """Latent frames of a token."""
        size: int = self._model.patch_size
        return size

    def _layer(
        self,
        fused: "_FusedLayer",
        hidden: torch.Tensor,
        modulation: torch.Tensor,
        batch: _Batch,
        condition_keys_values: _KeysValues,
        windowed: bool,
    ) -> torch.Tensor:
        """[tokens, hidden] -> the same; `modulation` is [1 or tokens, 6, hidden]."""
        layer = fused.layer
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = (layer.scale_shift_table + modulation).unbind(1)
        ready = modulated(hidden, layer.self_attn_norm, scale, shift)
        found = self._self_attention(fused, ready, batch, windowed)
        hidden = torch.addcmul(hidden, found, gate)
        ready = normed(hidden, layer.cross_attn_norm)
        hidden += self._cross_attention(layer.cross_attn, ready, batch, condition_keys_values)
        ready = modulated(hidden, layer.mlp_norm, mlp_scale, mlp_shift)
        return hidden.addcmul_(_mlp(fused, ready), mlp_gate)

    def _self_attention(
        self, fused: "_FusedLayer", hidden: torch.Tensor, batch: _Batch, windowed: bool
    ) -> torch.Tensor:
        attn = fused.layer.self_attn
        heads = linear(hidden, fused.queries_keys_values).reshape(len(hidden), -1, attn.head_dim)
        queries_keys, value = torch.split(heads, [attn.heads + attn.kv_heads, attn.kv_heads], dim=1)
        turned = rotated(unit(queries_keys, attn.norm_q.eps).mul_(fused.norm_queries_keys), batch.rotary)
        query, key = torch.split(turned, [attn.heads, attn.kv_heads], dim=1)
        return _projected(attn, self._attention(query, key, value, batch.among_themselves, windowed))

    def _cross_attention(
        self, attn: Any, hidden: torch.Tensor, batch: _Batch, keys_values: _KeysValues
    ) -> torch.Tensor:
        found = self._attention(_queries(attn, hidden), *keys_values, batch.towards_conditions)
        return _projected(attn, found)

    def _time(self, rows: Sequence[Row], batch: _Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings of the timesteps, [1 or tokens, hidden] and [1 or tokens, 6, hidden]."""
        levels = sorted({row.timestep for row in rows})
        timesteps = torch.tensor(levels, device=self.device, dtype=self.dtype)
        embedding, modulation = self._model.time_embed(timesteps)
        # The model was trained with a second timestep, which sampling keeps equal to the first.
        embedding_r, modulation_r = self._model.time_embed_r(torch.zeros_like(timesteps[:1]))
        embedding, modulation = embedding + embedding_r, modulation + modulation_r
        if len(levels) > 1:
            level_of_row = torch.tensor([levels.index(row.timestep) for row in rows])
            level_of_token = level_of_row.repeat_interleave(torch.tensor(batch.tokens)).to(self.device)
            embedding, modulation = embedding[level_of_token], modulation[level_of_token]
        return embedding, modulation

    def _batch_of(self, rows: Sequence[Row]) -> _Batch:
        last = self._batches.get(get_ident())
        if last is None or not _same(last.conditions, [row.condition for row in rows]):
            last = None
            self._batches.pop(get_ident(), None)  # frees it before the next one takes memory
            self._batches[get_ident()] = last = self._new_batch(rows)
        return last

    def _new_batch(self, rows: Sequence[Row]) -> _Batch:
        def lengths(index: int) -> tuple[int, int]:
            row = rows[index]
            keys = row.condition.encoder_states.shape[0]
            return -(-row.latents.shape[0] // self.patch_size), keys

        order = sorted(range(len(rows)), key=lengths)
        tokens, keys = zip(*(lengths(index) for index in order), strict=True)
        conditions = [rows[index].condition for index in order]
        return _Batch(
            conditions=tuple(row.condition for row in rows),
            order=tuple(order),
            frames=tuple(rows[index].latents.shape[0] for index in order),
            tokens=tokens,
            context=self._pack([condition.context for condition in conditions]),
            among_themselves=segments_of(list(zip(tokens, tokens, strict=True))),
            towards_conditions=segments_of(list(zip(tokens, keys, strict=True))),
            rotary=self._rotary(tokens),
            condition_keys_values=self._condition_keys_values(conditions),
        )

    def _rotary(self, tokens: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        positions = torch.cat([torch.arange(count, dtype=torch.float32) for count in tokens]).to(self.device)
        cos, sin = get_1d_rotary_pos_embed(
            self._model.head_dim,
            positions,
            theta=self._model.rope_theta,
            use_real=True,
            repeat_interleave_real=False,
        )
        return cos.to(self.dtype), sin.to(self.dtype)

    def _condition_keys_values(self, conditions: Sequence[Condition]) -> tuple[_KeysValues, ...]:
        with self._lock:
            of_rows = [self._keys_values_of(condition) for condition in conditions]
            remembered = self._keys_values
            while sum(len(layers[0][0]) for layers in remembered.values()) > REMEMBERED_TOKENS:
                del remembered[next(iter(remembered))]
        if len(of_rows) == 1:
            return of_rows[0]
        return tuple(
            (torch.cat([keys for keys, _ in layer]), torch.cat([values for _, values in layer]))
            for layer in zip(*of_rows, strict=True)
        )

    def _keys_values_of(self, condition: Condition) -> tuple[_KeysValues, ...]:
        found = self._keys_values.pop(condition, None)
        if found is None:
            embedded = self._model.condition_embedder(condition.encoder_states)
            found = tuple(_keys_values(layer.cross_attn, embedded) for layer in self._model.layers)
        self._keys_values[condition] = found
        return found

    def _pack(self, rows: Sequence[torch.Tensor]) -> torch.Tensor:
        """Rows [frames, width] end to end, each filled up with zeros to whole patches."""
        return torch.cat([pad(row, (0, 0, 0, -row.shape[0] % self.patch_size)) for row in rows])

    def _unpack(self, predicted: torch.Tensor, batch: _Batch) -> list[torch.Tensor]:
        """The rows of `predicted` [patch_size * tokens, channels] in the caller's order."""
        padded = torch.split(predicted, [self.patch_size * count for count in batch.tokens])
        velocities = list(padded)
        for index, row, frames in zip(batch.order, padded, batch.frames, strict=True):
            velocities[index] = row[:frames]
        return velocities


def _same(left: Sequence[Condition], right: Sequence[Condition]) -> bool:
    return len(left) == len(right) and all(a is b for a, b in zip(left, right, strict=True))


def _queries(attn: Any, hidden: torch.Tensor) -> torch.Tensor:
    """[tokens, heads, head_dim]"""
    return normed(attn.to_q(hidden).unflatten(-1, (attn.heads, attn.head_dim)), attn.norm_q)


def _keys_values(attn: Any, hidden: torch.Tensor) -> _KeysValues:
    """Twice [tokens, kv_heads, head_dim]"""
    shape = (attn.kv_heads, attn.head_dim)
    return attn.norm_k(attn.to_k(hidden).unflatten(-1, shape)), attn.to_v(hidden).unflatten(-1, shape)


def _mlp(fused: "_FusedLayer", hidden: torch.Tensor) -> torch.Tensor:
    # As mlp.forward does it, but in place: its activations are the largest of all.
    gate, up = linear(hidden, fused.gate_up).chunk(2, dim=-1)
    projected: torch.Tensor = fused.layer.mlp.down_proj(silu(gate, inplace=True).mul_(up))
    return projected


def _projected(attn: Any, found: torch.Tensor) -> torch.Tensor:
    projected: torch.Tensor = attn.to_out[0](found)
    return projected
