"""The operations that one DiT step dispatches to a GPU, counted without a GPU."""

import pytest

from benchmarks.dit_host_time import WORKLOADS, counted_ways, operations_a_layer


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_compiled_layer_is_three_functions_and_two_attentions_however_many_songs(workload: str) -> None:
    assert operations_a_layer(counted_ways()["compiled"], workload) == 5


def test_without_compiling_more_songs_are_hardly_more_operations() -> None:
    one, nine = (operations_a_layer(counted_ways()["one attention"], workload) for workload in WORKLOADS)
    assert nine <= one + 8
    assert one < operations_a_layer(counted_ways()["as written"], "one song")
