"""The LM's prompts, byte for byte as in its training data.

Source: ACE-Step 1.5 since April 2026 (PRs 858, 1127, 1128), whose layout equals the training data: the codes
follow `</think>` in an open turn, and the unconditional prompt is a bare user message.

A prompt is a sequence of plain text and control tokens. Only a `Token` becomes a control token: text from a
user that looks like one stays text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from configs.domain import INSTRUMENTAL, NO_USER_INPUT, code_token

GENERATE = "Generate audio semantic tokens based on the given conditions:"
UNDERSTAND = "Understand the given musical conditions and describe the audio semantics accordingly:"
INSPIRE = "Expand the user's input into a more detailed and specific musical description:"
FORMAT = "Format the user's input into a more detailed and specific musical description:"


@dataclass(frozen=True)
class Token:
    """A control or code token, by its name in the vocabulary."""

    name: str


Prompt = tuple[str | Token, ...]

TURN_START = Token("<|im_start|>")
TURN_END = Token("<|im_end|>")
THINK = Token("<think>")
END_THINK = Token("</think>")


def plan_prompt(caption: str, lyrics: str, prefill: str = "") -> Prompt:
    """The prompt for metadata. `prefill` is the beginning of the answer after `<think>`: the known fields."""
    return _chat(GENERATE, _song(caption, lyrics)) + ((THINK, prefill) if prefill else ())


def unconditional_plan_prompt(negative_prompt: str | None, lyrics: str, prefill: str = "") -> Prompt:
    """The unconditional prompt for metadata."""
    if _is_meaningful(negative_prompt):
        user = f"# Caption\n{negative_prompt}\n\n# Lyric\n{lyrics}\n"
    else:
        user = f"# Lyric\n{lyrics}\n"
    return _chat(GENERATE, user) + ((THINK, prefill) if prefill else ())


def compose_prompt(caption: str, lyrics: str, cot: str) -> Prompt:
    """The prompt for audio codes. `cot` is the metadata as YAML (`metadata.cot_yaml`), or empty."""
    return (*_chat(GENERATE, _song(caption, lyrics)), *_thought(cot))


def unconditional_compose_prompt(negative_prompt: str | None) -> Prompt:
    """The unconditional prompt for audio codes."""
    user = str(negative_prompt) if _is_meaningful(negative_prompt) else NO_USER_INPUT
    return (*_chat(GENERATE, user), *_thought(""))


def understand_prompt(codes: Sequence[int]) -> Prompt:
    """The prompt for the metadata and lyrics of audio codes."""
    user = [Token(code_token(code)) for code in codes] if codes else [NO_USER_INPUT]
    return _chat(UNDERSTAND, *user)


def inspire_prompt(query: str, instrumental: bool) -> Prompt:
    """The prompt for the description of a whole song from a short text."""
    query = query if query.strip() else NO_USER_INPUT
    return _chat(INSPIRE, f"{query}\n\ninstrumental: {str(instrumental).lower()}")


def format_prompt(caption: str, lyrics: str) -> Prompt:
    """The prompt for a better wording of a caption and lyrics."""
    caption = caption if caption.strip() else NO_USER_INPUT
    lyrics = lyrics if lyrics.strip() else INSTRUMENTAL
    return _chat(FORMAT, f"# Caption\n{caption}\n\n# Lyric\n{lyrics}")


def answered(prompt: Prompt, prefill: str) -> Prompt:
    """A prompt whose answer begins with `<think>` and `prefill`."""
    return (*prompt, THINK, prefill)


def _is_meaningful(negative_prompt: str | None) -> bool:
    return negative_prompt is not None and negative_prompt.strip() not in ("", NO_USER_INPUT)


def _song(caption: str, lyrics: str) -> str:
    return f"# Caption\n{caption}\n\n# Lyric\n{lyrics}\n"


def _thought(cot: str) -> Prompt:
    return (THINK, f"\n{cot}\n", END_THINK, "\n\n")


def _chat(instruction: str, *user: str | Token) -> Prompt:
    """Qwen3's chat template up to the assistant's turn."""
    return _joined(
        TURN_START,
        f"system\n# Instruction\n{instruction}\n\n",
        TURN_END,
        "\n",
        TURN_START,
        "user\n",
        *user,
        TURN_END,
        "\n",
        TURN_START,
        "assistant\n",
    )


def _joined(*parts: str | Token) -> Prompt:
    """Join neighbouring texts, so that they are tokenised together."""
    joined: list[str | Token] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return tuple(joined)
