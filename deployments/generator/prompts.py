"""The two prompts that condition the DiT, in exactly the format of its training.

Source: `SFT_GEN_PROMPT` and `_format_lyrics` of ACE-Step 1.5.
"""

import re
from dataclasses import dataclass

from deployments.common.messages import Metadata

MAX_CAPTION_TOKENS = 256
MAX_LYRIC_TOKENS = 2048

END_OF_TEXT = "<|endoftext|>"
_MISSING = "N/A"
_MISSING_DURATION = "30 seconds"

_CAPTION_IN_PROMPT = re.compile(r"# Caption\s*\n(.*?)(?:\n\s*# Metas|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Prompt:
    """A text in two parts; control tokens are recognised in `ending` only."""

    body: str
    """Contains text from the user."""
    ending: str

    def __str__(self) -> str:
        return self.body + self.ending


def caption_prompt(instruction: str, caption: str, metadata: Metadata) -> Prompt:
    """The instruction, the caption and the metadata. A missing duration is written as 30 seconds."""
    if not instruction.endswith(":"):
        instruction += ":"
    body = f"# Instruction\n{instruction}\n\n# Caption\n{_bare(caption)}\n\n# Metas\n{_metas(metadata)}"
    return Prompt(body, f"{END_OF_TEXT}\n")


def stem_caption(instruction: str, caption: str, global_caption: str, works_on_window: bool) -> str:
    """The caption for a checkpoint for stems, in the lines of its training.

    An instruction about "a segment" is about the track alone, so it leaves out the line of the whole song.
    """
    lines = [f"Local: {caption}", f"Mask Control: {str(works_on_window).lower()}"]
    if "a segment" not in instruction:
        lines.insert(0, f"Global: {global_caption}")
    return "\n".join(lines)


def lyric_prompt(lyrics: str, language: str) -> Prompt:
    """The lyrics and their language."""
    return Prompt(lyric_header(language) + lyrics, END_OF_TEXT)


def lyric_header(language: str) -> str:
    """The part of the prompt before the lyrics."""
    return f"# Languages\n{language}\n\n# Lyric\n"


def _bare(caption: str) -> str:
    """The caption without the rest of the prompt, in case a whole prompt was given as the caption."""
    if "# Instruction" in caption and (found := _CAPTION_IN_PROMPT.search(caption)):
        return found.group(1).strip()
    return caption


def _metas(metadata: Metadata) -> str:
    duration = _MISSING_DURATION if metadata.duration is None else f"{int(metadata.duration)} seconds"
    return (
        f"- bpm: {metadata.bpm or _MISSING}\n"
        f"- timesignature: {_given(metadata.time_signature)}\n"
        f"- keyscale: {_given(metadata.key_scale)}\n"
        f"- duration: {duration}\n"
    )


def _given(text: str | None) -> str:
    return text if text and text.strip() else _MISSING
