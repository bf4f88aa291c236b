"""The token ranges that the rows of vLLM's present step draw from.

vLLM tells its logits processors the rows of a step before the model runs, but does not tell the model. Both
run on the engine's thread, so a value of that thread is what they share.
"""

import threading

Ranges = frozenset[range]


class _Announced(threading.local):
    rows = 0
    ranges: Ranges = frozenset()


_announced = _Announced()


def announce(rows: int, ranges: Ranges) -> None:
    """Say that steps of this thread's engine have `rows` rows of ours now, which draw from these ranges."""
    _announced.rows, _announced.ranges = rows, ranges


def ranges_of_step(rows: int) -> Ranges | None:
    """The ranges of a step with `rows` rows; None where they are not all ours."""
    return _announced.ranges if rows == _announced.rows and _announced.ranges else None
