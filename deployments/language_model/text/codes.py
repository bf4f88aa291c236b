"""Audio codes in the LM's output."""

from collections.abc import Sequence
from itertools import groupby

from configs.domain import CODE_COUNT, CODE_RATE, CODE_TOKEN

DEGENERATE_RUN = 10 * CODE_RATE
"""If one code repeats this often (10 s), the LM has fallen into a loop."""


def parse_code_string(text: str) -> list[int]:
    """The codes in LM output. A code that the codec does not know is replaced by its last one."""
    return [min(int(code), CODE_COUNT - 1) for code in CODE_TOKEN.findall(text)]


def longest_run(codes: Sequence[int]) -> int:
    """The length of the longest run of one repeated code; 0 for no codes."""
    return max((sum(1 for _ in run) for _, run in groupby(codes)), default=0)
