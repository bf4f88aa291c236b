"""The token range that all rows of vLLM's present step draw from.

vLLM tells its logits processors the rows of a step before the model runs, but does not tell the model. Both
run on the engine's thread, so a value of that thread is what they share.
"""

import threading


class _Announced(threading.local):
    rows = 0
    common: range | None = None


_announced = _Announced()


def announce(rows: int, common: range | None) -> None:
    """Say that steps of this thread's engine have `rows` rows of ours now, and the range common to them."""
    _announced.rows, _announced.common = rows, common


def common_range(rows: int) -> range | None:
    """The range of a step with `rows` rows; None where rows draw from several, or are not all ours."""
    return _announced.common if rows == _announced.rows else None
