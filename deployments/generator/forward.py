"""One forward of the DiT for rows of any lengths, packed end to end without padding.

Every part of the model except attention works on single tokens, so rows of different lengths share its matrix
products as if they were one long row; attention is computed for each row alone. The modules are diffusers',
called in the order of AceStepTransformer1DModel.forward, which cannot keep packed rows apart.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise
from threading import Lock, get_ident
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from torch.nn.functional import linear, silu

from deployments.checkpoints.catalog import AlignmentHeads
from deployments.checkpoints.dit_modules import AceStepTransformer1DModel
from deployments.checkpoints.errors import CheckpointError
from deployments.common.compilation import compiling
from deployments.generator.adapters.mounting import Level, Mount, Mounter
from deployments.generator.adapters.products import Added, MountedProduct, RunProduct, adding, changed
from deployments.generator.attention import RowAttention
from deployments.generator.kernels import Kernels, kernels_for
from deployments.generator.layer import LayerWeights, Rotary, TimeEmbedding, modulated
from deployments.generator.lyrics.listening_attention import ListenedRow, ListeningAttention
from deployments.generator.trajectory import Condition, Row

CACHED_CONDITION_TOKENS = 16_384
"""Condition tokens whose keys and values are cached.

They take 2 GB in the XL model, and 3 GB in the 2B model in float32.
"""
_CACHED_LEVELS = 256
"""Noise levels whose embeddings are cached; each takes 28 KB in the 2B model in bfloat16."""

_WARM_UP = (((1.0,), 74), ((1.0,), 106), ((1.0, 0.5), 138), ((1.0, 0.5, 0.25), 170))
"""(noise levels, frames of the shortest row); torch.compile takes a size for a constant until it changes."""
_NO_ADAPTERS: Mapping[str, tuple[MountedProduct, ...]] = {}

_KeysValues = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class _Batch:
    """Everything that is equal in all steps of the same rows. Rows are in packed order."""

    conditions: tuple[Condition, ...]
    """Conditions of the rows in the caller's order; the key under which the batch is cached."""
    order: tuple[int, ...]
    """The caller's index of each packed row; rows of equal length are neighbours."""
    frames: tuple[int, ...]
    tokens: tuple[int, ...]
    context: torch.Tensor
    """[patch_size * tokens, 2 * channels]"""
    row_of_token: torch.Tensor
    """[tokens], int64"""
    self_attention: RowAttention
    cross_attention: RowAttention
    rotary: Rotary
    condition_keys_values: tuple[_KeysValues, ...]
    """For each layer's cross-attention, [condition tokens of all rows, kv_heads, head_dim]."""
    runs: tuple["_Run", ...]
    """Where rows have adapters; empty without any."""
    added: tuple[Added, ...]
    """The products of the adapters in each layer; empty without any."""


@dataclass(frozen=True)
class _Run:
    """Neighbouring rows with the same adapters."""

    tokens: slice
    """Their part of all tokens."""
    mount: Mount


class PackedTransformer:
    """Predicts the velocities of many rows in one forward. It may be called on several threads at once.

    The keys and values of a row's condition are computed once for all its steps, and everything that depends
    on the composition of a batch once for all steps of the same rows.
    """

    def __init__(
        self,
        transformer: AceStepTransformer1DModel,
        kernels: Kernels | None = None,
        compiled: bool = True,
    ) -> None:
        """`kernels` default to the fastest of the device; they are compiled only if `compiled`.

        Raises CheckpointError for a model whose attention has biases; none was ever published.
        """
        model: Any = transformer
        if model.config.attention_bias:
            raise CheckpointError("this DiT's attention has biases (attention_bias), which are not supported")
        self._model = model
        # In diffusers each of these two properties searches all modules.
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype
        self.patch_size: int = model.patch_size
        """Latent frames per token."""
        self._kernels = kernels or kernels_for(self.device, self.dtype, model.config.sliding_window, compiled)
        windowed = [kind == "sliding_attention" for kind in model.layer_types]
        self._layers = [LayerWeights.of(*each) for each in zip(model.layers, windowed, strict=True)]
        self.mounter = Mounter(model, model.config)
        """Prepares adapters for this DiT."""
        self._into_tokens = _patches_to_tokens(model.proj_in_conv)
        self._out_of_tokens = _tokens_to_patches(model.proj_out_conv)
        self._time_of_level = lru_cache(_CACHED_LEVELS)(self._new_time_of_level)
        self._batches: dict[int, _Batch] = {}
        """The last batch of each thread that computes forwards, by the thread's identifier."""
        self._batches_lock = Lock()
        self._keys_values_lock = Lock()
        self._keys_values: WeakKeyDictionary[Condition, tuple[_KeysValues, ...]] = WeakKeyDictionary()
        """Keys and values for each layer's cross-attention, least recently used first."""

    def tokens(self, row: Row) -> int:
        """Tokens that `row` adds to a forward. Its condition adds none: its keys and values are cached."""
        return -(-row.latents.shape[0] // self.patch_size)

    def warm_up(self, with_adapters: bool = False) -> None:
        """Compile the kernels for rows of any lengths and noise levels in one batch.

        `with_adapters` compiles also those for batches in which rows have adapters. Raises RuntimeError where
        this machine can't compile.
        """
        if not self._kernels.compiled:
            return
        nothing = Mount(tuple({} for _ in self._layers), {})
        with compiling("generator.compiled"):
            for mount in (None, nothing) if with_adapters else (None,):
                for levels, frames in _WARM_UP:
                    self.velocities(
                        [self._some_row(level, frames + 8 * row, mount) for row, level in enumerate(levels)]
                    )
        with self._batches_lock:
            self._batches.clear()

    def _some_row(self, level: float, frames: int, mount: Mount | None) -> Row:
        def zeros(width: int) -> torch.Tensor:
            return torch.zeros(frames, width, device=self.device, dtype=self.dtype)

        config = self._model.config
        channels = config.audio_acoustic_hidden_dim
        condition = Condition(
            zeros(self._model.condition_embedder.in_features), zeros(config.in_channels - channels), mount
        )
        return Row(zeros(channels).float(), level, condition)

    def forget(self, conditions: Collection[Condition]) -> None:
        """Free the cached batches, on any thread, in which one of `conditions` has a row."""
        with self._batches_lock:
            for thread, batch in list(self._batches.items()):
                if any(condition in conditions for condition in batch.conditions):
                    del self._batches[thread]

    def clear_caches(self) -> None:
        """Free everything that is cached for rows that may step again."""
        with self._batches_lock:
            self._batches.clear()
        with self._keys_values_lock:
            self._keys_values.clear()

    def velocities(self, rows: Sequence[Row]) -> list[torch.Tensor]:
        """The velocity [frames, channels] in float32 of each row."""
        batch = self._batch_of(rows)
        time, hidden = self._through_layers(rows, batch, len(self._layers))
        shift, scale = (self._model.scale_shift_table + time.embedding[:, None]).unbind(1)
        norm = self._model.norm_out
        hidden = modulated(hidden, norm.weight, scale, shift, time, norm.eps)
        predicted = linear(hidden, *self._out_of_tokens).float()
        return self._unpack(predicted.reshape(self.patch_size * len(hidden), -1), batch)

    def attention(self, rows: Sequence[Row], heads: AlignmentHeads, heard: slice) -> list[torch.Tensor]:
        """How strongly each token of `rows` attends to the part `heard` of its condition's states.

        Returns for each row the probabilities [heads, states, tokens] in the heads (layer, head) of
        cross-attention. The layers after the last one of `heads` are not computed. Nothing is kept for
        `velocities`, which is computed as before.
        """
        batch = self._new_batch(rows)
        conditions = [batch.conditions[index] for index in batch.order]
        ends = zip(
            accumulate(batch.tokens),
            accumulate(len(condition.encoder_states) for condition in conditions),
            strict=True,
        )
        starts = [(0, 0), *ends]
        packed = [
            ListenedRow(slice(query, query_end), slice(key, key_end))
            for (query, key), (query_end, key_end) in pairwise(starts)
        ]
        listening = ListeningAttention(batch.cross_attention, packed, heads, heard)
        layers = 1 + max(layer for layer, _ in heads)
        self._through_layers(rows, replace(batch, cross_attention=listening), layers)
        found = dict(zip(batch.order, listening.found(), strict=True))
        return [found[index] for index in range(len(rows))]

    def _through_layers(
        self, rows: Sequence[Row], batch: _Batch, count: int
    ) -> tuple[TimeEmbedding, torch.Tensor]:
        """The embedding of the rows' noise levels, and the tokens [tokens, hidden] after `count` layers."""
        packed_rows = [rows[index] for index in batch.order]
        time = self._time(packed_rows, batch)
        latents = self._pack([row.latents for row in packed_rows]).to(self.dtype)
        patches = torch.cat([batch.context, latents], -1).reshape(len(batch.row_of_token), -1)
        hidden = self._embedded(patches, batch)
        layers = list(zip(self._layers, batch.condition_keys_values, strict=True))
        for index, (weights, keys_values) in enumerate(layers[:count]):
            if not batch.added:
                hidden = self._layer(weights, hidden, time, batch, keys_values)
                continue
            with adding(batch.added[index]):
                hidden = self._layer(weights, hidden, time, batch, keys_values)
        return time, hidden

    def _layer(
        self,
        weights: LayerWeights,
        hidden: torch.Tensor,
        time: TimeEmbedding,
        batch: _Batch,
        condition_keys_values: _KeysValues,
    ) -> torch.Tensor:
        """[tokens, hidden] -> the same."""
        kernels, adds = self._kernels, bool(batch.runs)
        inputs = kernels.self_attention_inputs(weights, hidden, time, batch.rotary, adds)
        found = batch.self_attention(*inputs, windowed=weights.windowed)
        hidden, queries = kernels.cross_attention_inputs(weights, hidden, found, time, adds)
        found = batch.cross_attention(queries, *condition_keys_values)
        return kernels.layer_output(weights, hidden, found, time, adds)

    def _embedded(self, patches: torch.Tensor, batch: _Batch) -> torch.Tensor:
        """[tokens, patch_size * channels] -> [tokens, hidden]"""
        weight, bias = self._into_tokens
        hidden = linear(patches, weight, bias)
        for run in batch.runs:
            if products := run.mount.others.get("proj_in.1"):
                # The columns of the original's convolution are in another order than ours.
                of_run = patches[run.tokens]
                of_run = of_run.reshape(len(of_run), self.patch_size, -1).transpose(1, 2).flatten(1)
                own = self._model.proj_in_conv.weight.flatten(1)
                hidden[run.tokens] = changed(of_run, own, bias, products)
        return hidden

    def _time(self, rows: Sequence[Row], batch: _Batch) -> TimeEmbedding:
        levels = [(row.timestep, _time_mount(row.condition.mount)) for row in rows]
        if len(set(levels)) == 1:
            return TimeEmbedding(*self._time_of(*levels[0]), None)
        embeddings, modulations = zip(*(self._time_of(*level) for level in levels), strict=True)
        # Each row brings the embedding of its level, so that no index has to be copied to the device.
        return TimeEmbedding(torch.cat(embeddings), torch.cat(modulations), batch.row_of_token)

    def _time_of(self, level: float, mount: Mount | None) -> Level:
        if mount is None:
            return self._time_of_level(level)
        if (known := mount.levels.get(level)) is None:
            known = mount.levels[level] = self._new_time_of_level(level, mount.others)
        return known

    def _new_time_of_level(
        self, level: float, products: Mapping[str, tuple[MountedProduct, ...]] = _NO_ADAPTERS
    ) -> Level:
        timestep = torch.tensor([level], device=self.device, dtype=self.dtype)
        embedding, modulation = self._time_embedded("time_embed", timestep, products)
        # The model was trained with a second timestep, which sampling keeps equal to the first.
        embedding_r, modulation_r = self._time_embedded("time_embed_r", torch.zeros_like(timestep), products)
        return embedding + embedding_r, modulation + modulation_r

    def _time_embedded(
        self, name: str, timestep: torch.Tensor, products: Mapping[str, tuple[MountedProduct, ...]]
    ) -> Level:
        """The embedding that the module `name` makes of `timestep`, with the changes of adapters."""
        module = getattr(self._model, name)
        if not products:
            embedded: Level = module(timestep)
            return embedded

        def apply(part: str, inputs: torch.Tensor) -> torch.Tensor:
            own = getattr(module, part)
            return changed(inputs, own.weight, own.bias, products.get(f"{name}.{part}", ()))

        waves = module.time_sinusoid(timestep * module.scale).to(timestep.dtype)
        embedding = apply("linear_2", silu(apply("linear_1", waves)))
        return embedding, apply("time_proj", silu(embedding)).reshape(len(embedding), 6, -1)

    def _batch_of(self, rows: Sequence[Row]) -> _Batch:
        thread = get_ident()
        with self._batches_lock:
            batch = self._batches.get(thread)
            if batch is not None and _same(batch.conditions, [row.condition for row in rows]):
                return batch
            batch = None
            self._batches.pop(thread, None)  # frees the last batch before the next one takes memory
        batch = self._new_batch(rows)
        with self._batches_lock:
            self._batches[thread] = batch
        return batch

    def _new_batch(self, rows: Sequence[Row]) -> _Batch:
        def lengths(index: int) -> tuple[int, int]:
            row = rows[index]
            keys = row.condition.encoder_states.shape[0]
            return -(-row.latents.shape[0] // self.patch_size), keys

        order = _with_neighbours(sorted(range(len(rows)), key=lengths), lengths, rows)
        tokens, keys = zip(*(lengths(index) for index in order), strict=True)
        conditions = [rows[index].condition for index in order]
        runs = _runs([condition.mount for condition in conditions], tokens)
        attention = self._kernels.attention
        return _Batch(
            conditions=tuple(row.condition for row in rows),
            order=tuple(order),
            frames=tuple(rows[index].latents.shape[0] for index in order),
            tokens=tokens,
            context=self._pack([condition.context for condition in conditions]),
            row_of_token=torch.arange(len(tokens)).repeat_interleave(torch.tensor(tokens)).to(self.device),
            self_attention=attention.of_rows(list(zip(tokens, tokens, strict=True))),
            cross_attention=attention.of_rows(list(zip(tokens, keys, strict=True))),
            rotary=self._rotary(tokens),
            condition_keys_values=self._condition_keys_values(conditions),
            runs=runs,
            added=tuple(_added(layer, runs) for layer in range(len(self._layers))) if runs else (),
        )

    def _rotary(self, tokens: Sequence[int]) -> Rotary:
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
        with self._keys_values_lock:
            of_rows = [self._keys_values_of(condition) for condition in conditions]
            cached = self._keys_values
            while sum(len(layers[0][0]) for layers in cached.values()) > CACHED_CONDITION_TOKENS:
                del cached[next(iter(cached))]
        if len(of_rows) == 1:
            return of_rows[0]
        return tuple(
            (torch.cat([keys for keys, _ in layer]), torch.cat([values for _, values in layer]))
            for layer in zip(*of_rows, strict=True)
        )

    def _keys_values_of(self, condition: Condition) -> tuple[_KeysValues, ...]:
        found = self._keys_values.pop(condition, None)
        if found is None:
            found = self._new_keys_values(condition)
        self._keys_values[condition] = found
        return found

    def _new_keys_values(self, condition: Condition) -> tuple[_KeysValues, ...]:
        mount, layers = condition.mount, self._model.layers
        if mount is None:
            embedded = self._model.condition_embedder(condition.encoder_states)
            return tuple(_keys_values(layer.cross_attn, embedded) for layer in layers)
        own = self._model.condition_embedder
        products = mount.others.get("condition_embedder", ())
        embedded = changed(condition.encoder_states, own.weight, own.bias, products)
        return tuple(
            _keys_values(layer.cross_attn, embedded, of_layer)
            for layer, of_layer in zip(layers, mount.layers, strict=True)
        )

    def _pack(self, rows: Sequence[torch.Tensor]) -> torch.Tensor:
        """Rows [frames, width] end to end, each padded with zeros to whole patches."""
        pieces = []
        for row in rows:
            pieces.append(row)
            if missing := -row.shape[0] % self.patch_size:
                pieces.append(row.new_zeros(missing, row.shape[1]))
        return torch.cat(pieces)

    def _unpack(self, predicted: torch.Tensor, batch: _Batch) -> list[torch.Tensor]:
        """The rows of `predicted` [patch_size * tokens, channels] in the caller's order."""
        padded = torch.split(predicted, [self.patch_size * count for count in batch.tokens])
        velocities = list(padded)
        for index, row, frames in zip(batch.order, padded, batch.frames, strict=True):
            velocities[index] = row[:frames]
        return velocities


def _same(left: Sequence[Condition], right: Sequence[Condition]) -> bool:
    return len(left) == len(right) and all(a is b for a, b in zip(left, right, strict=True))


def _keys_values(
    attn: Any, hidden: torch.Tensor, products: Mapping[str, tuple[MountedProduct, ...]] = _NO_ADAPTERS
) -> _KeysValues:
    """Keys and values, each [tokens, kv_heads, head_dim], with what adapters add to them."""
    shape = (len(hidden), attn.kv_heads, attn.head_dim)
    keys = changed(hidden, attn.to_k.weight, None, products.get("cross_keys", ()))
    values = changed(hidden, attn.to_v.weight, None, products.get("cross_values", ()))
    return attn.norm_k(keys.reshape(shape)), values.reshape(shape)


def _time_mount(mount: Mount | None) -> Mount | None:
    """The mount, where it changes the embedding of noise levels."""
    return mount if mount is not None and mount.changes_time else None


def _with_neighbours(
    order: list[int], lengths: Callable[[int], tuple[int, int]], rows: Sequence[Row]
) -> list[int]:
    """`order` with rows of equal adapters next to each other, as far as rows of equal lengths change places.

    A row without adapters keeps its place: where a row stands can change its last bits.
    """
    places: dict[tuple[int, int], list[int]] = {}
    for place, index in enumerate(order):
        if rows[index].condition.mount is not None:
            places.setdefault(lengths(index), []).append(place)
    arranged = list(order)
    for of_length in places.values():
        first_seen = {id(rows[order[place]].condition.mount): place for place in reversed(of_length)}
        indices = [order[place] for place in of_length]
        indices.sort(key=lambda index: first_seen[id(rows[index].condition.mount)])
        for place, index in zip(of_length, indices, strict=True):
            arranged[place] = index
    return arranged


def _runs(mounts: Sequence[Mount | None], tokens: Sequence[int]) -> tuple[_Run, ...]:
    """The runs of rows, given in packed order with their numbers of tokens."""
    runs: list[_Run] = []
    start = 0
    for mount, count in zip(mounts, tokens, strict=True):
        stop = start + count
        if mount is not None:
            last = runs[-1] if runs else None
            if last is not None and last.mount is mount and last.tokens.stop == start:
                runs[-1] = _Run(slice(last.tokens.start, stop), mount)
            else:
                runs.append(_Run(slice(start, stop), mount))
        start = stop
    return tuple(runs)


def _added(layer: int, runs: Sequence[_Run]) -> Added:
    """The products of all runs in one layer."""
    added: dict[str, list[RunProduct]] = {}
    for run in runs:
        for name, products in run.mount.layers[layer].items():
            added.setdefault(name, []).append(RunProduct(run.tokens, products))
    return added


def _patches_to_tokens(conv: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """A Conv1d as a linear layer [patch_size * channels] -> [hidden]: its weight and bias.

    The kernel is as long as the stride, so that each frame belongs to one token only.
    """
    return conv.weight.data.transpose(1, 2).flatten(1).contiguous(), conv.bias.data


def _tokens_to_patches(conv: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """A ConvTranspose1d as a linear layer [hidden] -> [patch_size * channels]: its weight and bias."""
    weight = conv.weight.data.permute(2, 1, 0).flatten(0, 1).contiguous()
    return weight, conv.bias.data.repeat(conv.kernel_size[0])
