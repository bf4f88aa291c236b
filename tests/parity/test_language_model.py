"""Every golden vector of the 5Hz LM's prompts, metadata and tokens.

GOLDEN_DIR names another folder with an `lm_prompt_vectors.json` of the same form. Each vector in it is run.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployments.common.messages import Metadata
from deployments.generator.prompts import caption_prompt, lyric_prompt
from deployments.language_model.text.codes import parse_code_string
from deployments.language_model.text.grammar import metadata_regex
from deployments.language_model.text.metadata import (
    cot_yaml,
    extract_lyrics,
    parse_lm_output,
)
from deployments.language_model.text.prompts import (
    END_THINK,
    THINK,
    UNDERSTAND,
    Prompt,
    Token,
    compose_prompt,
    format_prompt,
    inspire_prompt,
    plan_prompt,
    unconditional_compose_prompt,
    unconditional_plan_prompt,
    understand_prompt,
)
from tests.prompt_text import prompt_text
from tests.qwen_tokenizer import qwen_tokenizer

Vector = dict[str, Any]

GOLDEN = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parents[1] / "data")) / "lm_prompt_vectors.json"
VECTORS: list[Vector] = json.loads(GOLDEN.read_text())["vectors"]
WITH_TOKENS = [vector for vector in VECTORS if "n_tokens" in vector]


def codes_in(text: str) -> list[int]:
    return [int(code) for code in re.findall(r"<\|audio_code_(\d+)\|>", text)]


def thought(cot_text: str) -> str:
    """Return the YAML between `<think>` and `</think>`."""
    return cot_text.removeprefix(f"{THINK.name}\n").removesuffix(f"\n{END_THINK.name}")


PROMPTS: dict[str, Callable[..., Prompt]] = {
    "phase1_prompt": plan_prompt,
    "phase1_uncond": lambda lyrics, negative_prompt, **_: unconditional_plan_prompt(negative_prompt, lyrics),
    "codes_prompt_cond": lambda caption, lyrics, cot_text: compose_prompt(caption, lyrics, thought(cot_text)),
    "codes_prompt_uncond": unconditional_compose_prompt,
    "understand_prompt": lambda audio_codes: understand_prompt(codes_in(audio_codes)),
    "format_prompt": format_prompt,
    "inspire_prompt": inspire_prompt,
}


def lm_output(text: str) -> dict[str, Any]:
    metadata, codes = parse_lm_output(text)
    return {"metadata": metadata, "audio_codes": codes}


def cot_grammar(text: str, options: dict[str, Any], **_: Any) -> bool:
    wanted = {"bpm", "duration", "keyscale", "timesignature"}
    wanted |= {name for name in ("caption", "language") if options.get(name, True)}
    return re.fullmatch(metadata_regex(wanted, options.get("user", {})), text) is not None


def dit_caption_text(instruction: str, caption: str, **metas: Any) -> str:
    metadata = Metadata(metas["bpm"], metas["keyscale"], metas["timesignature"], metas["duration"])
    return str(caption_prompt(instruction, caption, metadata))


ANSWERS: dict[str, Callable[..., Any]] = {
    "cot_yaml": lambda metadata: f"{THINK.name}\n{cot_yaml(metadata)}\n{END_THINK.name}",
    "parse_lm_output": lm_output,
    "extract_lyrics": extract_lyrics,
    "dit_caption_text": dit_caption_text,
    "dit_lyric_text": lambda **text: str(lyric_prompt(**text)),
    "parse_code_string": lambda s: parse_code_string(s),
    "cot_grammar": cot_grammar,
}

TOKENS: dict[str, Callable[..., list[int]]] = {
    "token_ids": lambda tokens: [qwen_tokenizer().token_id(name) for name in tokens],
    "canonical_tokens": lambda text: qwen_tokenizer().encode(with_control_tokens(text)),
}

# These are layouts of older releases and of another implementation. Ours differs, except when the guidance
# prompt has a negative prompt of its own.
OTHERS: dict[str, Callable[..., Prompt]] = {
    "codes_prompt_cond_legacy": PROMPTS["codes_prompt_cond"],
    "codes_prompt_uncond_legacy": lambda negative_prompt, **_: unconditional_compose_prompt(negative_prompt),
    "acestepcpp_codes_uncond": unconditional_compose_prompt,
    "acestepcpp_phase1_uncond": PROMPTS["phase1_uncond"],
    "acestepcpp_understand_prompt": PROMPTS["understand_prompt"],
    "acestepcpp_format_prompt": format_prompt,
    "acestepcpp_inspire_prompt": inspire_prompt,
}


DECIDED_OTHERWISE = {"code_budget", "user_metadata"}
"""Vectors that do not apply: the server has its own rules for the number of codes and for given metadata."""


def with_control_tokens(text: str) -> Prompt:
    parts = re.split(r"(<\|[a-z_0-9]+\|>|</?think>)", text)
    return tuple(Token(part) if index % 2 else part for index, part in enumerate(parts) if part)


def is_shared_layout(vector: Vector) -> bool:
    negative = str(vector["input"].get("negative_prompt") or "").strip()
    return {
        "acestepcpp_codes_uncond": bool(negative),
        "acestepcpp_phase1_uncond": negative not in ("", "NO USER INPUT"),
    }.get(vector["group"], False)


def of_groups(groups: dict[str, Any]) -> Any:
    chosen = [pytest.param(vector, id=vector["id"]) for vector in VECTORS if vector["group"] in groups]
    return pytest.mark.parametrize("vector", chosen)


def test_every_vector_is_run_unless_the_server_does_otherwise() -> None:
    known = PROMPTS | ANSWERS | TOKENS | OTHERS | {"understand_uncond": None}
    assert VECTORS
    assert {vector["group"] for vector in VECTORS} == known.keys() | DECIDED_OTHERWISE


@of_groups(PROMPTS)
def test_prompts_are_byte_for_byte_those_of_training(vector: Vector) -> None:
    assert prompt_text(PROMPTS[vector["group"]](**vector["input"])) == vector["expected"]


@of_groups(ANSWERS)
def test_metadata_and_codes_are_read_and_written_like_the_original(vector: Vector) -> None:
    assert ANSWERS[vector["group"]](**vector["input"]) == vector["expected"]


@pytest.mark.real_vocabulary
@of_groups(TOKENS)
def test_token_ids(vector: Vector) -> None:
    assert TOKENS[vector["group"]](**vector["input"]) == vector["expected"]


@pytest.mark.real_vocabulary
@pytest.mark.parametrize("vector", [pytest.param(vector, id=vector["id"]) for vector in WITH_TOKENS])
def test_prompts_are_tokenised_like_the_original(vector: Vector) -> None:
    ids = qwen_tokenizer().encode(with_control_tokens(vector["expected"]))
    if vector["group"] in PROMPTS:
        assert qwen_tokenizer().encode(PROMPTS[vector["group"]](**vector["input"])) == ids
    assert len(ids) == vector["n_tokens"]
    assert ids[-len(vector["token_tail"]) :] == vector["token_tail"]
    assert ids == vector.get("token_ids", ids)


@of_groups(OTHERS)
def test_other_layouts_are_not_ours(vector: Vector) -> None:
    ours = prompt_text(OTHERS[vector["group"]](**vector["input"]))
    assert (ours == vector["expected"]) == is_shared_layout(vector)


@of_groups({"understand_uncond": None})
def test_the_prompt_without_codes_is_the_unconditional_one(vector: Vector) -> None:
    assert UNDERSTAND in vector["expected"]
    assert prompt_text(understand_prompt([])) == vector["expected"]
