"""The token ranges from which the rows of vLLM's current step draw.

vLLM passes the rows of a step to its logits processors before the model runs, but not to the model. Both run
on the engine's thread, so the processor hands the range to the model in a thread-local value.
"""

import threading

Ranges = frozenset[range]


class _Announced(threading.local):
    rows = 0
    ranges: Ranges = frozenset()


_announced = _Announced()


def announce(rows: int, ranges: Ranges) -> None:
    """Set how many rows the next steps of this thread's engine have, and the ranges from which they draw."""
    _announced.rows, _announced.ranges = rows, ranges


def ranges_of_step(rows: int) -> Ranges | None:
    """The ranges of a step with `rows` rows; None if a row was not announced."""
    return _announced.ranges if rows == _announced.rows and _announced.ranges else None
