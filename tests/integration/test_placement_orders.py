"""What the presets ask of Ray, on actors that load nothing: whatever comes first, all find a place."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._raylet import IMPLICIT_RESOURCE_PREFIX
from ray.serve._private.utils import DEFAULT

from tests.presets import CLUSTER, MULTI_GPU_NODE, SINGLE_GPU, application, replicas
from tests.ray_nodes import RayNodes

ORDERS = 20
START_SECONDS = 60.0
AUDIO_NODES = 3
NODES: dict[Path, list[dict[str, Any]]] = {
    **{preset: [{"num_cpus": 16, "num_gpus": 1}] for preset in SINGLE_GPU},
    MULTI_GPU_NODE: [{"num_cpus": 64, "num_gpus": 8}],
    CLUSTER: [
        *[{"num_cpus": 4, "labels": {"pool": "web"}}] * 2,
        {"num_cpus": 8, "num_gpus": 1, "labels": {"pool": "language-model"}},
        *[{"num_cpus": 8, "num_gpus": 1, "labels": {"pool": "audio"}}] * AUDIO_NODES,
    ],
}
AT_MOST = {"Ingress": 2, "LanguageModel": 3, "Generator": AUDIO_NODES, "Codec": AUDIO_NODES}
"""As many replicas as the nodes above are for."""
LANGUAGE_MODEL_NODES = 1


@ray.remote
class Nothing:
    def ready(self) -> None: ...


def replica_options(preset: Path) -> list[Mapping[str, Any]]:
    """What Serve would start each replica with."""
    options = []
    for deployment in application(preset).deployments:
        count = min(replicas(deployment), AT_MOST[deployment.name])
        if preset == CLUSTER and deployment.name == "LanguageModel":
            count = LANGUAGE_MODEL_NODES
        wanted = deployment.ray_actor_options.model_dump(exclude_unset=True)
        if deployment.max_replicas_per_node is not DEFAULT.VALUE:
            # Serve's own way to say how many of them a node may have.
            share = 1.0 / deployment.max_replicas_per_node
            wanted["resources"] = {f"{IMPLICIT_RESOURCE_PREFIX}acestep:{deployment.name}": share}
        options += [wanted] * count
    return options


@pytest.fixture(params=[*SINGLE_GPU, MULTI_GPU_NODE, CLUSTER], ids=lambda preset: preset.stem)
def preset(request: pytest.FixtureRequest, ray_nodes: Callable[..., RayNodes]) -> Path:
    """A preset, with this process on the nodes that it is for."""
    nodes = ray_nodes(num_cpus=0)
    for node in NODES[request.param]:
        nodes.add(**node)
    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    return request.param


def test_all_replicas_start_in_any_order(preset: Path) -> None:
    options = replica_options(preset)
    for seed in range(ORDERS):
        order = random.Random(seed).sample(options, len(options))
        actors = [Nothing.options(**wanted).remote() for wanted in order]
        started, waiting = ray.wait(
            [actor.ready.remote() for actor in actors], num_returns=len(actors), timeout=START_SECONDS
        )
        assert not waiting, f"order {seed}: {len(waiting)} of {len(order)} found no place: {order}"
        ray.get(started)
        for actor in actors:
            ray.kill(actor)
