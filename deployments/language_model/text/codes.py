"""Audio codes as the LM writes them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from configs.domain import CODE_COUNT, CODE_RATE, MAX_LM_DURATION, MIN_LM_DURATION

DEGENERATE_RUN = 10 * CODE_RATE
"""One code repeated this often (10 s) is a loop that the LM fell into, not music."""

_CODE = re.compile(r"<\|audio_code_(\d+)\|>")


@dataclass(frozen=True)
class CodeBudget:
    """Token limits of the original implementation for a song."""

    target_codes: int | None
    max_new_tokens_codes: int
    max_new_tokens_cot_with_target: int


def code_budget(duration: float | None, max_model_len: int = 4096) -> CodeBudget:
    """The original's limits for `duration` seconds; None is a song whose length the LM decides.

    The pipeline does not take its code count from here: it rounds up (`domain.code_count`) and clamps first.
    """
    if duration is None:
        most = min(max_model_len - 64, 3500)
        return CodeBudget(None, most, most)
    clamped = int(min(max(duration, MIN_LM_DURATION), MAX_LM_DURATION) * CODE_RATE)
    return CodeBudget(int(duration * CODE_RATE), clamped + 10, clamped + 500)


def parse_code_string(text: str) -> list[int]:
    """The codes in LM output. Codes that the codec does not know are brought to its last one."""
    return [min(int(code), CODE_COUNT - 1) for code in _CODE.findall(text)]


def longest_run(codes: Sequence[int]) -> int:
    """How often the most repeated code stands in a row."""
    return max((sum(1 for _ in run) for _, run in groupby(codes)), default=0)
