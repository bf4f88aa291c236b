import pytest

from deployments.language_model.vllm_engine.step_range import Ranges, announce, ranges_of_step

TEXT, CODES = range(100), range(100, 200)


@pytest.mark.parametrize(
    ("rows", "ranges", "told"),
    [
        (4, {CODES}, {CODES}),
        (4, {TEXT, CODES}, {TEXT, CODES}),
        (3, {CODES}, None),
        (4, set(), None),
    ],
)
def test_ranges_count_for_steps_of_exactly_the_announced_rows(
    rows: int, ranges: set[range], told: set[range] | None
) -> None:
    announce(4, Ranges(ranges))
    assert ranges_of_step(rows) == told
