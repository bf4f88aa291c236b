import pytest

from benchmarks.end_to_end.goals import Goal


@pytest.mark.parametrize(
    ("value", "comparison", "is_met"),
    [
        (2.0, "≥", True),
        (1.99, "≥", False),
        (2.0, "≤", True),
        (2.01, "≤", False),
        (1.9, "<", True),
        (2.0, "<", False),
    ],
)
def test_a_goal_is_met_or_missed(value: float, comparison: str, is_met: bool) -> None:
    goal = Goal("throughput", value, comparison, 2.0)
    assert goal.is_met is is_met
    assert goal.row()[""] == ("met" if is_met else "MISSED")


def test_no_figure_is_no_success() -> None:
    assert not Goal("throughput", float("nan"), "≥", 2.0).is_met
