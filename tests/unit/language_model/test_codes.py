import pytest

from deployments.language_model.text.codes import longest_run


@pytest.mark.parametrize(
    ("codes", "longest"), [([], 0), ([5], 1), ([1, 2, 3], 1), ([1, 1, 2, 2, 2, 1], 3), ([7] * 40, 40)]
)
def test_the_longest_run_of_one_code(codes: list[int], longest: int) -> None:
    assert longest_run(codes) == longest
