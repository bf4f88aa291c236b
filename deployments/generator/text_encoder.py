"""Prompts -> token ids -> hidden states."""

import json
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer

from deployments.generator.prompts import Prompt


@dataclass(frozen=True)
class PromptTokens:
    """Token ids of one prompt and whether the limit cut it."""

    ids: tuple[int, ...]
    truncated: bool


class PromptTokenizer:
    """Tokenises prompts so that the user's words never become control tokens.

    The body goes through a copy of the tokenizer that knows no added tokens at all: `<|endoftext|>` in a
    caption is the characters it is written with. Other prompts get the ids that the tokenizer gives them.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._full = tokenizer
        # The post-processor speaks of added tokens, so it goes with them.
        bare = json.loads(tokenizer.to_str()) | {"added_tokens": [], "post_processor": None}
        self._plain = Tokenizer.from_str(json.dumps(bare))
        self._appended = tuple(tokenizer.encode("").ids)

    def __call__(self, prompt: Prompt, limit: int) -> PromptTokens:
        """At most `limit` ids, among them those that the tokenizer appends to every text."""
        content = self._plain.encode(prompt.body).ids
        content += self._full.encode(prompt.ending, add_special_tokens=False).ids
        room = limit - len(self._appended)
        return PromptTokens((*content[:room], *self._appended), truncated=len(content) > room)


class TextEncoder:
    """Qwen3 as the DiT was trained with it: one prompt at a time, never padded."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def states(self, ids: tuple[int, ...]) -> torch.Tensor:
        """[tokens, text_hidden]: last hidden states, for captions."""
        states: torch.Tensor = self._model(input_ids=self._batch(ids), use_cache=False).last_hidden_state
        return states[0]

    def embeddings(self, ids: tuple[int, ...]) -> torch.Tensor:
        """[tokens, text_hidden]: the embedding table's rows, for lyrics."""
        embeddings: torch.Tensor = self._model.get_input_embeddings()(self._batch(ids))
        return embeddings[0]

    def _batch(self, ids: tuple[int, ...]) -> torch.Tensor:
        return torch.tensor([ids], device=self._model.device)
