"""The grammar of metadata: a regular expression that every backend uses.

The LM was trained to write a `<think>` line and one `key: value` line for each field, in alphabetical order.
Known values are forced: those before the first unknown one are part of the prompt, the others are literals in
the expression.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from configs.domain import (
    LANGUAGES,
    MAX_BPM,
    MAX_LM_DURATION,
    MIN_BPM,
    MIN_LM_DURATION,
    TIME_SIGNATURES,
)
from deployments.language_model.text.metadata import DESCRIPTION_KEYS, Fields
from deployments.language_model.text.prompts import THINK

MAX_CAPTION_TOKENS = 512
MAX_GENRES_TOKENS = 48


@dataclass(frozen=True)
class ConstrainedText:
    """Text that continues a known beginning."""

    prefill: str
    """The known beginning after `<think>`, part of the prompt. It ends at a token boundary, before a value's
    space."""
    regex: str
    """The continuation, up to the newline after the last wanted field. Then only the end of the turn may
    follow."""


@dataclass(frozen=True)
class TaggedText:
    """Text with a free caption that continues a known beginning."""

    prefill: str
    """The known beginning, as in ConstrainedText."""
    structural_tag: str
    """xgrammar's JSON for the continuation. Then only the end of the turn may follow."""


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


def constrained_wording(
    wanted: Collection[str], forced: Fields, max_duration: int, caption_tokens: int
) -> TaggedText:
    """The same for metadata with a caption, which is one line of at most `caption_tokens` tokens.

    A limit of tokens costs nothing, while a counted repeat in an expression takes seconds to compile.
    """
    lines = _lines(wanted, forced, max_duration)
    keys = [key for key, _ in lines]
    last = max(keys.index(key) for key in wanted)
    return _tagged(lines[: last + 1], forced, caption_tokens, [])


def constrained_description(
    end_think_id: int, forced: Fields, max_duration: int, caption_tokens: int, wants_lyrics: bool
) -> TaggedText:
    """The same for a description: all fields, perhaps genres, the end of the thought, and lyrics.

    The control token that ends the thought is given by id, because vLLM checks tags without a tokenizer.
    """
    lines = _lines(DESCRIPTION_KEYS, forced, max_duration)
    ending: list[dict[str, Any]] = [{"type": "token", "token": end_think_id}]
    if wants_lyrics:
        ending.append({"type": "any_text"})
    return _tagged(lines, forced, caption_tokens, ending)


def _tagged(
    lines: list[tuple[str, str]], forced: Fields, caption_tokens: int, ending: list[dict[str, Any]]
) -> TaggedText:
    first = next(line for line, (key, _) in enumerate(lines) if key not in forced)
    known = "".join(f"{key}: {forced[key]}\n" for key, _ in lines[:first])
    elements: list[dict[str, Any]] = []
    for key, pattern in lines[first:]:
        begins = " " if key == lines[first][0] else f"{key}: "
        if key == "genres":
            name = {"type": "const_string", "value": begins}
            parts = [name, _free_text(MAX_GENRES_TOKENS), _regex("\\n")]
            elements.append({"type": "optional", "content": {"type": "sequence", "elements": parts}})
        elif key == "caption":
            elements += [_regex(begins), _free_text(caption_tokens), _regex("\\n")]
        else:
            elements.append(_regex(f"{begins}{pattern}\\n"))
    tag = {"type": "structural_tag", "format": {"type": "sequence", "elements": elements + ending}}
    return TaggedText(f"\n{known}{lines[first][0]}:", json.dumps(tag))


def _regex(pattern: str) -> dict[str, Any]:
    return {"type": "regex", "pattern": pattern}


def _free_text(max_tokens: int) -> dict[str, Any]:
    """One line of text. `<` is excluded so that it cannot look like code tokens."""
    return {"type": "any_text", "excludes": ["\n", "\r", "<", "`"], "max_tokens": max_tokens}


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
        for key in DESCRIPTION_KEYS
        if key in forced or key in wanted
    ]


def _pattern(key: str, max_duration: int) -> str:
    return {
        "bpm": integers(MIN_BPM, MAX_BPM),
        # `<` is excluded so that text cannot look like code tokens. The length has no limit, because a
        # counted repeat takes seconds to compile.
        "caption": r"[^\r\n`<]+(\n  [^\r\n`<]+)*",
        "duration": integers(MIN_LM_DURATION, max_duration),
        "genres": r"[^\r\n`<]+",
        "keyscale": "[A-G](#|b|♯|♭)? (major|minor)",
        "language": f"({'|'.join(LANGUAGES)})",
        "timesignature": f"[{''.join(TIME_SIGNATURES)}]",
    }[key]


def _literal(text: str) -> str:
    return re.sub(r"[\\^$.|?*+()\[\]{}]", r"\\\g<0>", text)
