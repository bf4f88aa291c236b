"""Prompts -> token ids -> hidden states."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer

from deployments.generator.prompts import Prompt


@dataclass(frozen=True)
class PromptTokens:
    """Token ids of one prompt, and whether they were cut at the limit."""

    ids: tuple[int, ...]
    truncated: bool


class PromptTokenizer:
    """Tokenises prompts so that text from the user never becomes a control token.

    A copy of the tokenizer without added tokens encodes the prompt's body: `<|endoftext|>` in a caption is
    encoded as ordinary characters. All other text gets the same ids as from the full tokenizer.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._full = tokenizer
        # The post-processor refers to added tokens, so it is removed with them.
        bare = json.loads(tokenizer.to_str()) | {"added_tokens": [], "post_processor": None}
        self._plain = Tokenizer.from_str(json.dumps(bare))
        self._appended = tuple(tokenizer.encode("").ids)

    def __call__(self, prompt: Prompt, limit: int) -> PromptTokens:
        """At most `limit` ids, including the ones that the tokenizer appends to every text."""
        content = self._plain.encode(prompt.body).ids
        content += self._full.encode(prompt.ending, add_special_tokens=False).ids
        room = limit - len(self._appended)
        return PromptTokens((*content[:room], *self._appended), truncated=len(content) > room)

    def plain(self, text: str) -> tuple[int, ...]:
        """The ids of a text in which nothing is a control token."""
        return tuple(self._plain.encode(text).ids)

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids that are no control tokens. Half a character becomes a replacement character."""
        decoded: str = self._plain.decode(list(ids), skip_special_tokens=False)
        return decoded

    def control(self, token: str) -> int | None:
        """The id of a control token; None if the tokenizer has none of this name."""
        found: int | None = self._full.token_to_id(token)
        return found


class TextEncoder:
    """Qwen3 with one prompt at a time and without padding, as in the DiT's training."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def states(self, ids: tuple[int, ...]) -> torch.Tensor:
        """Last hidden states [tokens, text_hidden], used for captions."""
        states: torch.Tensor = self._model(input_ids=self._batch(ids), use_cache=False).last_hidden_state
        return states[0]

    def embeddings(self, ids: tuple[int, ...]) -> torch.Tensor:
        """Token embeddings [tokens, text_hidden], used for lyrics."""
        embeddings: torch.Tensor = self._model.get_input_embeddings()(self._batch(ids))
        return embeddings[0]

    def _batch(self, ids: tuple[int, ...]) -> torch.Tensor:
        return torch.tensor([ids], device=self._model.device)
