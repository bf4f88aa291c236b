import hashlib
import json
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen3ForCausalLM

from deployments.language_model.text.prompts import compose_prompt
from deployments.language_model.text.tokenizer import LMTokenizer
from deployments.tiny_checkpoints.language_model import CODE_TOKENS, CONTROL_TOKENS, build
from tests.prompt_text import prompt_text


def test_the_embedded_checkpoint_is_the_same_each_time(checkpoint: Path, tmp_path: Path) -> None:
    build(tmp_path)
    assert contents(tmp_path) == contents(checkpoint)


def contents(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_the_embedded_checkpoint_is_small(checkpoint: Path) -> None:
    assert sum(file.stat().st_size for file in checkpoint.iterdir()) < 20_000_000


def test_it_loads_as_an_official_checkpoint_does(checkpoint: Path, tokenizer: LMTokenizer) -> None:
    model = Qwen3ForCausalLM.from_pretrained(checkpoint)
    config = json.loads((checkpoint / "config.json").read_text())
    assert model.config.vocab_size == tokenizer.first_code + CODE_TOKENS
    assert model.config.eos_token_id == tokenizer.end_id
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert config["model_type"] == "qwen3"
    assert len(CONTROL_TOKENS) == len(tokenizer.control) == 26


def test_its_tokenizer_file_reads_prompts_as_ours_does(checkpoint: Path, tokenizer: LMTokenizer) -> None:
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(checkpoint / "tokenizer.json"))
    prompt = compose_prompt("An upbeat pop song, 明るい", "[Verse 1]\nla la", "bpm: 120\nkeyscale: E♭ major")
    assert theirs.encode(prompt_text(prompt)) == tokenizer.encode(prompt)


def test_the_text_tokenizer_loads_by_itself(tokenizer: LMTokenizer, tmp_path: Path) -> None:
    tokenizer.save_text_tokenizer(tmp_path)
    text = AutoTokenizer.from_pretrained(tmp_path)
    assert len(text) == tokenizer.first_code
    assert text.eos_token_id == tokenizer.end_id
