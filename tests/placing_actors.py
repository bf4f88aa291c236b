"""Starts actors that load nothing with the resources of a preset's replicas, in many orders.

    python -m tests.placing_actors RAY_ADDRESS PRESET REPLICAS_AT_MOST ORDERS

It is a program of its own, because a driver that connects to a second cluster gives its actors the ids of
those in the first. Handles of the first ones that are collected late then end the new ones.
"""

import json
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray._raylet import IMPLICIT_RESOURCE_PREFIX
from ray.serve._private.utils import DEFAULT

from tests.presets import application, replicas

START_SECONDS = 60.0


@ray.remote
class Nothing:
    def ready(self) -> None: ...


def replica_options(preset: Path, at_most: Mapping[str, int]) -> list[Mapping[str, Any]]:
    """Return the options with which Serve would start each replica."""
    options = []
    for deployment in application(preset).deployments:
        wanted = deployment.ray_actor_options.model_dump(exclude_unset=True)
        if deployment.max_replicas_per_node is not DEFAULT.VALUE:
            # Serve expresses a limit on replicas in a node in this way.
            share = 1.0 / deployment.max_replicas_per_node
            wanted["resources"] = {f"{IMPLICIT_RESOURCE_PREFIX}acestep:{deployment.name}": share}
        options += [wanted] * min(replicas(deployment), at_most[deployment.name])
    return options


def main(address: str, preset: str, at_most: str, orders: str) -> int:
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    options = replica_options(Path(preset), json.loads(at_most))
    for seed in range(int(orders)):
        order = random.Random(seed).sample(options, len(options))
        actors = [Nothing.options(**wanted).remote() for wanted in order]
        started, waiting = ray.wait(
            [actor.ready.remote() for actor in actors], num_returns=len(actors), timeout=START_SECONDS
        )
        if waiting:
            print(f"order {seed}: {len(waiting)} of {len(order)} found no place: {order}")
            return 1
        ray.get(started)
        for actor in actors:
            ray.kill(actor)
    print(f"{len(options)} replicas started in {orders} orders")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
