"""The real vocabulary of the official 5Hz LMs (217,204 tokens), from BPE ranks in the dashscope package."""

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from tokenizers import normalizers
from transformers.convert_slow_tokenizer import TikTokenConverter

from deployments.language_model.text.tokenizer import LMTokenizer
from deployments.tiny_checkpoints.language_model import tokenizer_spec
from deployments.tiny_checkpoints.tokenizer import QWEN_SPLIT


def write_tokenizer(folder: Path) -> None:
    """Write the official `tokenizer.json` into `folder`."""
    bpe = TikTokenConverter(vocab_file=str(_ranks()), pattern=QWEN_SPLIT).converted()
    bpe.normalizer = normalizers.NFC()
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_spec(json.loads(bpe.to_str()))))


@cache
def qwen_tokenizer() -> LMTokenizer:
    with TemporaryDirectory() as folder:
        write_tokenizer(Path(folder))
        return LMTokenizer.from_folder(Path(folder))


def _ranks() -> Path:
    package = find_spec("dashscope")
    assert package is not None, "dashscope is missing: install the dev extra"
    assert package.origin is not None
    return Path(package.origin).parent / "resources" / "qwen.tiktoken"
