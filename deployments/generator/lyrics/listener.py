"""Asks the DiT, about a finished song, which tokens of the lyrics each moment of it attends to.

Source: the lyric alignment of ACE-Step 1.5 (June 2026).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from configs.domain import INSTRUMENTAL, LATENT_RATE
from deployments.checkpoints.catalog import AlignmentHeads
from deployments.common.messages import DenoiseRequest, Untimed
from deployments.generator.forward import PackedTransformer
from deployments.generator.lyrics.consensus import Attention
from deployments.generator.lyrics.times import Decode
from deployments.generator.prompts import END_OF_TEXT, lyric_header
from deployments.generator.text_encoder import PromptTokenizer, PromptTokens
from deployments.generator.trajectory import Condition, Row

NOISE_SEED = 42
"""The seed of the noise that is mixed into every finished song, as in the original."""


@dataclass(frozen=True)
class SungLyrics:
    """The lyrics of a song that is being made, and what is needed to find them in it."""

    ids: tuple[int, ...]
    """The tokens of the lyrics, without the header and the end of their prompt."""
    first_row: int
    """The index of the first one among the states to which the DiT attends. Lyrics lead them."""
    condition: Condition
    """The song's first condition, even where a cover goes on with another one."""
    steps: int
    """Steps that were asked for. The song is shown to the DiT with the noise of the last one of them."""
    seconds: float
    """The time that all frames of the song last."""

    @property
    def rows(self) -> slice:
        """The lyrics' part of the states."""
        return slice(self.first_row, self.first_row + len(self.ids))


@dataclass(frozen=True)
class HeardLyrics:
    """The attention of a finished song to its lyrics."""

    ids: tuple[int, ...]
    seconds: float
    in_song: Attention
    in_noise: Attention
    """The mean of the heads for pure noise, [1, tokens, frames]: what the lyrics alone make of it."""
    decode: Decode


class LyricListener:
    """Listens with the heads of one checkpoint."""

    def __init__(
        self, transformer: PackedTransformer, heads: AlignmentHeads, tokenizer: PromptTokenizer
    ) -> None:
        self._transformer = transformer
        self._heads = heads
        self._tokenizer = tokenizer
        self._end_of_text = tokenizer.control(END_OF_TEXT)

    def lyrics_of(
        self, request: DenoiseRequest, prompt: PromptTokens, condition: Condition
    ) -> SungLyrics | Untimed | None:
        """The lyrics to listen for; why there are none; or None if the request does not ask for them."""
        if not request.options.lyric_timestamps:
            return None
        if not self._heads:
            return "model"
        first = len(self._tokenizer.plain(lyric_header(request.language)))
        ids = prompt.ids[first:]
        if self._end_of_text in ids:
            ids = ids[: ids.index(self._end_of_text)]
        if not ids or request.lyrics == INSTRUMENTAL:
            return "instrumental"
        return SungLyrics(ids, first, condition, request.options.inference_steps, _seconds(request))

    def __call__(
        self, lyrics: SungLyrics, latents: torch.Tensor, draw: Callable[[torch.Generator], torch.Tensor]
    ) -> HeardLyrics:
        """The attention of a song with `latents` [frames, channels], and of noise of its length.

        `draw` returns noise like `latents` from a generator.
        """
        noise = draw(torch.Generator(self._transformer.device).manual_seed(NOISE_SEED))
        level = 1.0 / lyrics.steps
        rows = [
            Row(level * noise + (1.0 - level) * latents, level, lyrics.condition),
            Row(noise, 1.0, lyrics.condition),
        ]
        in_song, in_noise = self._transformer.attention(rows, self._heads, lyrics.rows)
        return HeardLyrics(
            lyrics.ids,
            lyrics.seconds,
            np.nan_to_num(in_song.numpy()),
            np.nan_to_num(in_noise.mean(dim=0, keepdim=True).numpy()),
            self._tokenizer.text,
        )


def _seconds(request: DenoiseRequest) -> float:
    """The length that was asked for, or that of the frames, of which the shortest songs have more."""
    of_frames = request.frames / LATENT_RATE
    asked = request.metadata.duration
    return of_frames if asked is None or of_frames - asked >= 1 / LATENT_RATE else asked
