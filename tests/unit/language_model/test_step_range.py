import pytest

from deployments.language_model.vllm_engine.step_range import announce, common_range

CODES = range(100, 200)


@pytest.mark.parametrize(("rows", "common", "told"), [(4, CODES, CODES), (3, CODES, None), (4, None, None)])
def test_a_range_counts_for_steps_of_exactly_the_announced_rows(
    rows: int, common: range | None, told: range | None
) -> None:
    announce(4, common)
    assert common_range(rows) == told
