"""Converting text and codes to token ids and back.

The 65,535 code tokens make the checkpoint's tokenizer slow to load, and its added tokens would turn user text
into control tokens. So `tokenizer.json` is read as JSON: text goes through the BPE alone, control tokens are
looked up by name, and the ids of code tokens are computed, because they are checked to be contiguous.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from configs.domain import CODE_COUNT, CODE_TOKEN_PREFIX, code_token
from deployments.checkpoints.errors import CheckpointError
from deployments.language_model.text.prompts import TURN_END, Prompt, Token


@dataclass(frozen=True)
class LMTokenizer:
    """The vocabulary of a 5Hz LM checkpoint."""

    bpe: Tokenizer
    """The BPE for text; it knows no added tokens."""
    control: dict[str, int]
    """Added tokens that are not codes: name -> id."""
    first_code: int
    """Id of the token of code 0; the token of code N has the id `first_code + N`."""
    spec: dict[str, Any]
    """`tokenizer.json` without the code tokens."""

    @classmethod
    def from_folder(cls, folder: Path) -> "LMTokenizer":
        """Read `tokenizer.json`. Raises CheckpointError if it is missing or its codes are not contiguous."""
        file = folder / "tokenizer.json"
        if not file.exists():
            raise CheckpointError(f"{folder} has no tokenizer.json: it is no 5Hz LM checkpoint")
        return cls.from_spec(json.loads(file.read_text(encoding="utf-8")), file)

    @classmethod
    def from_spec(cls, spec: dict[str, Any], file: Path = Path("tokenizer.json")) -> "LMTokenizer":
        """Use the content of a `tokenizer.json`, called `file` in errors. Raises as `from_folder` does."""
        added = {token["content"]: token["id"] for token in spec["added_tokens"]}
        vocabulary = spec["model"]["vocab"]
        first_code = _first_code(vocabulary | added, file)
        control = {name: index for name, index in added.items() if not name.startswith(CODE_TOKEN_PREFIX)}
        if TURN_END.name not in control:
            raise CheckpointError(f"{file} has no token {TURN_END.name}")
        words = {name: index for name, index in vocabulary.items() if not name.startswith(CODE_TOKEN_PREFIX)}
        spec = spec | {
            "added_tokens": [token for token in spec["added_tokens"] if token["content"] in control],
            "model": spec["model"] | {"vocab": words},
        }
        bpe = Tokenizer.from_str(json.dumps(spec | {"added_tokens": [], "post_processor": None}))
        return cls(bpe, control, first_code, spec)

    @property
    def end_id(self) -> int:
        """Id of the LM's end-of-sequence token, which ends every turn."""
        return self.control[TURN_END.name]

    @property
    def code_ids(self) -> range:
        """Ids of the code tokens that the codec knows."""
        return range(self.first_code, self.first_code + CODE_COUNT)

    @property
    def text_ids(self) -> range:
        """Ids of the text and control tokens."""
        return range(self.first_code)

    def encode(self, prompt: Prompt) -> list[int]:
        ids: list[int] = []
        for part in prompt:
            if isinstance(part, Token):
                ids.append(self.token_id(part.name))
            else:
                ids.extend(self.bpe.encode(part, add_special_tokens=False).ids)
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of ids that are not codes; control tokens are left out."""
        return str(self.bpe.decode([index for index in ids if index not in self._control_ids]))

    def token_id(self, name: str) -> int:
        """The id of a control or code token. Raises KeyError for any other name."""
        if name.startswith(CODE_TOKEN_PREFIX):
            return self.first_code + int(name.removeprefix(CODE_TOKEN_PREFIX).removesuffix("|>"))
        return self.control[name]

    def codes(self, ids: list[int]) -> tuple[int, ...]:
        """The codes of code tokens."""
        return tuple(index - self.first_code for index in ids)

    def save_text_tokenizer(self, folder: Path) -> None:
        """Write a tokenizer without the code tokens, for engines that compile grammars over text.

        The ids of code tokens are unknown to it, so that grammars never allow them. It loads in a second.
        """
        (folder / "tokenizer.json").write_text(json.dumps(self.spec, ensure_ascii=False), encoding="utf-8")
        # vLLM reads a model type from every tokenizer folder.
        (folder / "config.json").write_text(json.dumps({"model_type": "qwen3"}))
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": TURN_END.name}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))

    def text_tokenizer(self) -> Any:
        """The tokenizer of `save_text_tokenizer` as an object of transformers."""
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(json.dumps(self.spec)), eos_token=TURN_END.name
        )

    @property
    def _control_ids(self) -> frozenset[int]:
        return frozenset(self.control.values())


def _first_code(vocabulary: dict[str, int], file: Path) -> int:
    first = vocabulary.get(code_token(0))
    if first is None:
        raise CheckpointError(f"{file} has no token {code_token(0)}: it is no 5Hz LM checkpoint")
    for code in range(CODE_COUNT):
        if vocabulary.get(code_token(code)) != first + code:
            raise CheckpointError(f"{file}: the code tokens are not contiguous at {code_token(code)}")
    if max(index for name, index in vocabulary.items() if not name.startswith(CODE_TOKEN_PREFIX)) > first:
        raise CheckpointError(f"{file}: text tokens stand behind the code tokens")
    return first
