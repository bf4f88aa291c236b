"""The grammar of metadata: a regular expression that every backend uses.

The LM was trained to write a `<think>` line and one `key: value` line for each field, in alphabetical order.
Known values are forced: those before the first unknown one are part of the prompt, the others are literals in
the expression.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass

from configs.domain import (
    LANGUAGES,
    MAX_BPM,
    MAX_LM_DURATION,
    MIN_BPM,
    MIN_LM_DURATION,
    TIME_SIGNATURES,
)
from deployments.language_model.text.metadata import COT_KEYS, Fields
from deployments.language_model.text.prompts import THINK

MAX_CAPTION_TOKENS = 512
DESCRIPTION_PREFILL = "\nbpm:"
"""The beginning of every description after `<think>`."""


@dataclass(frozen=True)
class ConstrainedText:
    """Text that continues a known beginning."""

    prefill: str
    """The known beginning after `<think>`, part of the prompt. It ends at a token boundary, before a value's
    space."""
    regex: str
    """The continuation, up to the newline after the last wanted field. Then only the end of the turn may
    follow."""


def metadata_regex(
    wanted: Collection[str], forced: Fields | None = None, max_duration: int = MAX_LM_DURATION
) -> str:
    """The expression from `<think>` on. `wanted` fields are free, `forced` ones fixed, others absent."""
    lines = _lines(wanted, forced or {}, max_duration)
    return f"{THINK.name}\\n" + "".join(f"{key}: {pattern}\\n" for key, pattern in lines)


def constrained_metadata(wanted: Collection[str], forced: Fields, max_duration: int) -> ConstrainedText:
    """The known beginning, and the expression for its continuation up to the last wanted field."""
    lines = _lines(wanted, forced, max_duration)
    keys = [key for key, _ in lines]
    first = min(keys.index(key) for key in wanted)
    last = max(keys.index(key) for key in wanted)
    known = "".join(f"{key}: {forced[key]}\n" for key in keys[:first])
    free_key, free_pattern = lines[first]
    rest = "".join(f"{key}: {pattern}\\n" for key, pattern in lines[first + 1 : last + 1])
    return ConstrainedText(f"\n{known}{free_key}:", f" {free_pattern}\\n{rest}")


def description_tag(end_think_id: int, max_duration: int = MAX_LM_DURATION) -> str:
    """The structural tag (xgrammar) of an answer with all fields and lyrics, after `DESCRIPTION_PREFILL`.

    The control token that ends the thought is given by id, because vLLM checks tags without a tokenizer. The
    caption is one line with a limit of tokens, which costs nothing; a counted repeat takes seconds to
    compile.
    """
    lines = _lines(COT_KEYS, {}, max_duration)
    caption_line = [key for key, _ in lines].index("caption")
    (_, bpm), *rest = lines[:caption_line] + lines[caption_line + 1 :]
    elements = [
        {"type": "regex", "pattern": f" {bpm}\\ncaption: "},
        {"type": "any_text", "excludes": ["\n", "\r", "<", "`"], "max_tokens": MAX_CAPTION_TOKENS},
        {"type": "regex", "pattern": "\\n" + "".join(f"{key}: {pattern}\\n" for key, pattern in rest)},
        {"type": "token", "token": end_think_id},
        {"type": "any_text"},
    ]
    return json.dumps({"type": "structural_tag", "format": {"type": "sequence", "elements": elements}})


def integers(low: int, high: int) -> str:
    """A regular expression that matches exactly the decimal integers from `low` to `high`."""
    parts: list[str] = []
    for digits in range(len(str(low)), len(str(high)) + 1):
        smallest, largest = max(low, 10 ** (digits - 1)), min(high, 10**digits - 1)
        parts += _same_length(str(smallest), str(largest))
    return f"({'|'.join(parts)})"


def _same_length(low: str, high: str) -> list[str]:
    if not low:
        return [""]
    rest = len(low) - 1
    if low[0] == high[0]:
        return [low[0] + part for part in _same_length(low[1:], high[1:])]
    parts: list[str] = []
    start, end = int(low[0]), int(high[0])
    if low[1:] != "0" * rest:
        parts += [low[0] + part for part in _same_length(low[1:], "9" * rest)]
        start += 1
    tail: list[str] = []
    if high[1:] != "9" * rest:
        tail = [high[0] + part for part in _same_length("0" * rest, high[1:])]
        end -= 1
    if start <= end:
        parts.append((f"[{start}-{end}]" if start < end else str(start)) + "[0-9]" * rest)
    return parts + tail


def _lines(wanted: Collection[str], forced: Fields, max_duration: int) -> list[tuple[str, str]]:
    return [
        (key, _literal(str(forced[key])) if key in forced else _pattern(key, max_duration))
        for key in COT_KEYS
        if key in forced or key in wanted
    ]


def _pattern(key: str, max_duration: int) -> str:
    return {
        "bpm": integers(MIN_BPM, MAX_BPM),
        # `<` is excluded so that text cannot look like code tokens. The length has no limit, because a
        # counted repeat takes seconds to compile.
        "caption": r"[^\r\n`<]+(\n  [^\r\n`<]+)*",
        "duration": integers(MIN_LM_DURATION, max_duration),
        "keyscale": "[A-G](#|b|♯|♭)? (major|minor)",
        "language": f"({'|'.join(LANGUAGES)})",
        "timesignature": f"[{''.join(TIME_SIGNATURES)}]",
    }[key]


def _literal(text: str) -> str:
    return re.sub(r"[\\^$.|?*+()\[\]{}]", r"\\\g<0>", text)
