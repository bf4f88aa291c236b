import pytest

from deployments.common.bisection import run_bisected


def run(batch: list[int]) -> list[str]:
    if len(batch) > 2 or 0 in batch:
        raise MemoryError
    if 13 in batch:
        raise ValueError("13")
    return [str(item) for item in batch]


@pytest.mark.parametrize("batch", [[1], [1, 2], [1, 2, 3, 4, 5], [1, 13, 2, 0, 3], [13], [0]])
def test_each_item_has_the_outcome_that_it_has_alone(batch: list[int]) -> None:
    found = run_bisected(batch, run, lambda failed: MemoryError(len(failed)))
    expected = {0: repr(MemoryError(1)), 13: repr(ValueError("13"))}
    assert [each if isinstance(each, str) else repr(each) for each in found] == [
        expected.get(item, str(item)) for item in batch
    ]


def test_an_item_alone_is_tried_again_after_memory_was_freed() -> None:
    """A cache of others once took the memory, and the item failed although it would have fitted."""
    room = {"items": 0}

    def run_in_room(batch: list[int]) -> list[str]:
        if len(batch) > room["items"]:
            raise MemoryError
        return [str(item) for item in batch]

    def free(_failed: list[int]) -> Exception:
        room["items"] = 1
        return ValueError("too large")

    assert run_bisected([1], run_in_room, free) == ["1"]
    room["items"] = 0
    assert run_bisected([1, 2], run_in_room, free) == ["1", "2"]


def test_nothing_has_no_outcome() -> None:
    assert run_bisected([], run, lambda _: MemoryError()) == []


def test_each_part_that_does_not_fit_into_memory_is_told() -> None:
    parts: list[list[int]] = []

    def told(failed: list[int]) -> Exception:
        parts.append(list(failed))
        return MemoryError()

    run_bisected([1, 2, 3, 4, 5], run, told)
    assert parts == [[1, 2, 3, 4, 5], [3, 4, 5]]
