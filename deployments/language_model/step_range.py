"""The token range that all rows of vLLM's present step draw from.

The guidance processor hears of a step's rows before the model runs, the model needs to know: both live in the
engine's process, which has one engine.
"""

_rows = 0
_common: range | None = None


def announce(rows: int, common: range | None) -> None:
    """From now on steps have `rows` rows of ours, which all draw from `common`, if they do."""
    global _rows, _common
    _rows, _common = rows, common


def common_range(rows: int) -> range | None:
    """The range of a step with `rows` rows; None where rows draw from several, or are not all ours."""
    return _common if rows == _rows else None
