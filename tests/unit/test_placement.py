"""The replicas of each preset fit onto its GPUs in any order."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from ray.serve._private.utils import DEFAULT

from tests.presets import (
    CLUSTER,
    MULTI_GPU_NODE,
    SINGLE_GPU,
    application,
    engines,
    num_gpus,
    replicas,
)

Fleet = dict[str, tuple[int, int, int]]
"""By deployment: replicas, hundredths of a GPU that each takes, and how many of them a node may have."""
Node = tuple[tuple[int, ...], tuple[int, ...]]
"""Free hundredths of each GPU, and the replicas of each deployment."""


def always_fits(fleet: Fleet, nodes: int, gpus: int) -> bool:
    """Return whether all replicas fit on `nodes` of `gpus` each, in any order and at any position."""
    names = list(fleet)

    def placements(state: tuple[Node, ...], index: int) -> Iterator[tuple[Node, ...]]:
        _, share, per_node = fleet[names[index]]
        for i, (free, counts) in enumerate(state):
            if counts[index] >= per_node:
                continue
            # A whole GPU must be free. A fraction may be on any GPU with room.
            for gpu, room in enumerate(free):
                if room >= share:
                    left = tuple(sorted((*free[:gpu], room - share, *free[gpu + 1 :])))
                    placed = tuple(count + (other == index) for other, count in enumerate(counts))
                    yield tuple(sorted((*state[:i], (left, placed), *state[i + 1 :])))

    @cache
    def fits(state: tuple[Node, ...]) -> bool:
        placed = [sum(counts[index] for _, counts in state) for index in range(len(names))]
        waiting = [index for index, name in enumerate(names) if placed[index] < fleet[name][0]]
        following = [(index, set(placements(state, index))) for index in waiting]
        # A waiting replica must find a place now, because none leaves.
        return all(states and all(map(fits, states)) for _, states in following)

    return fits((((100,) * gpus, (0,) * len(names)),) * nodes)


def shares_of(preset: Path, *names: str, at_most: int = 8) -> Fleet:
    return {
        deployment.name: (
            min(at_most, replicas(deployment)),
            round(100 * num_gpus(preset)[deployment.name]),
            100 if deployment.max_replicas_per_node is DEFAULT.VALUE else deployment.max_replicas_per_node,
        )
        for deployment in application(preset).deployments
        if deployment.name in names
    }


@pytest.mark.parametrize(
    ("fleet", "nodes", "gpus", "fits"),
    [
        # This was seen on a real cluster.
        ({"LanguageModel": (2, 30, 100), "Generator": (2, 70, 100)}, 1, 2, False),
        ({"LanguageModel": (2, 30, 1), "Generator": (2, 70, 1)}, 2, 1, True),
        ({"LanguageModel": (2, 50, 100), "Generator": (2, 50, 100)}, 1, 2, True),
        ({"LanguageModel": (2, 100, 100), "Generator": (1, 100, 100)}, 1, 2, False),
        ({"Generator": (8, 80, 100), "Codec": (8, 20, 100)}, 1, 8, False),
    ],
)
def test_fractions_that_can_dead_lock_are_seen(fleet: Fleet, nodes: int, gpus: int, fits: bool):
    assert always_fits(fleet, nodes, gpus) == fits


@pytest.mark.parametrize("preset", SINGLE_GPU, ids=lambda path: path.stem)
def test_all_fit_on_a_single_gpu_in_any_order(preset: Path):
    assert always_fits(shares_of(preset, *engines(preset)), nodes=1, gpus=1)


def test_all_fit_on_a_node_with_eight_gpus_in_any_order():
    fleet = shares_of(MULTI_GPU_NODE, *engines(MULTI_GPU_NODE))
    assert always_fits(fleet, nodes=1, gpus=8)
    assert sum(count for count, _, _ in fleet.values()) == 8  # No GPU is idle.


def test_pairs_fit_on_the_nodes_of_their_pool_in_any_order():
    fleet = shares_of(CLUSTER, "Generator", "Codec", at_most=3)
    assert always_fits(fleet, nodes=3, gpus=1)
    assert shares_of(CLUSTER, "LanguageModel")["LanguageModel"][1] == 100
