"""The token range from which all rows of vLLM's current step draw.

vLLM passes the rows of a step to its logits processors before the model runs, but not to the model. Both run
on the engine's thread, so the processor hands the range to the model in a thread-local value.
"""

import threading


class _Announced(threading.local):
    rows = 0
    common: range | None = None


_announced = _Announced()


def announce(rows: int, common: range | None) -> None:
    """Set how many rows the next steps of this thread's engine have, and the range common to them."""
    _announced.rows, _announced.common = rows, common


def common_range(rows: int) -> range | None:
    """The common range of a step with `rows` rows; None if there is none or a row was not announced."""
    return _announced.common if rows == _announced.rows else None
