"""The replicas of each preset find a place in any order. Actors that load nothing take their resources."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.presets import CLUSTER, MULTI_GPU_NODE, SINGLE_GPU, engines
from tests.ray_nodes import RayNodes

ORDERS = 2
ALL_ORDERS = 20
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
FRACTIONS = SINGLE_GPU
"""Presets in which all replicas share a GPU."""
REPLICAS_AT_MOST = {
    **{preset: dict.fromkeys(["Ingress", *engines(preset)], 9) for preset in (*SINGLE_GPU, MULTI_GPU_NODE)},
    CLUSTER: {"Ingress": 2, "LanguageModel": 1, "Generator": AUDIO_NODES, "Codec": AUDIO_NODES},
}
"""The number of replicas for which the nodes above have room."""


@pytest.mark.parametrize(
    ("preset", "orders"),
    [
        *[pytest.param(preset, ORDERS, id=preset.stem) for preset in FRACTIONS],
        *[
            pytest.param(preset, ALL_ORDERS, id=f"{preset.stem}, all orders", marks=pytest.mark.slow)
            for preset in NODES
        ],
    ],
)
def test_all_replicas_start_in_any_order(
    preset: Path, orders: int, ray_nodes: Callable[..., RayNodes], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray's own metrics exporter sometimes crashes one of hundreds of workers that are started at once.
    monkeypatch.setenv("RAY_enable_open_telemetry", "0")
    nodes = ray_nodes(num_cpus=0)
    for node in NODES[preset]:
        nodes.add(**node)
    at_most = json.dumps(REPLICAS_AT_MOST[preset])
    command = [sys.executable, "-m", "tests.placing_actors", nodes.address, preset, at_most, str(orders)]
    placing = subprocess.run(command, capture_output=True, text=True)
    assert placing.returncode == 0, placing.stdout + placing.stderr
