"""Runs `make chaos`: CHAOS_JOBS jobs on a cluster of two nodes, while processes and a node are killed.

It is not part of `make test`.
"""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.local_server import local_server
from tests.chaos.site import PROCESSES, site_of
from tests.chaos.songs import songs
from tests.chaos.storm import chaos_config, compare, in_turns, ride_out, usage_differs
from tests.ray_nodes import RayNodes

JOBS = int(os.environ.get("CHAOS_JOBS", "200"))
SONGS = min(40, JOBS)
JOBS_PER_BLOW = 5
SEED = int(os.environ.get("CHAOS_SEED", "2026"))
NODE = "node"
NODE_AWAY_SECONDS = 5.0
MOST_TIES = JOBS // 100
"""Number of songs whose codes may differ, because two tokens had the same probability up to rounding."""


class Nodes:
    """A head node, and a worker node that holds the Generator and the Codec."""

    def __init__(self, ray_nodes: RayNodes) -> None:
        self.all = ray_nodes
        self._worker = self._new_worker()

    def lose_worker(self) -> None:
        """End the worker node. Another one replaces it later."""
        self.all.lose(self._worker)
        time.sleep(NODE_AWAY_SECONDS)
        self._worker = self._new_worker()

    def _new_worker(self) -> object:
        return self.all.add(num_cpus=2, resources={"engines": 1})


@pytest.fixture
def nodes(ray_nodes: Callable[..., RayNodes]) -> Nodes:
    return Nodes(ray_nodes(num_cpus=2))


def cluster_config(folder: Path) -> dict[str, Any]:
    config = chaos_config(folder)
    for deployment in config["applications"][0]["deployments"]:
        if deployment["name"] in {"Generator", "Codec"}:
            deployment["ray_actor_options"]["resources"] = {"engines": 0.01}
        if deployment["name"] == "Ingress":
            deployment["num_replicas"] = 2
    return config


def test_every_job_of_a_long_storm_ends_once_with_its_own_music(
    nodes: Nodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = cluster_config(tmp_path)
    requests = [songs(SONGS)[index % SONGS] for index in range(JOBS)]
    chance = random.Random(SEED)
    address = nodes.all.address
    with (
        local_server(config, tmp_path / "serve.log", address) as server,
        httpx.Client(timeout=60) as http,
    ):
        site = site_of(server, http)
        site.roots.append(nodes.all.roots)
        undisturbed = site.make(requests[:SONGS], "calm")

        def strike(kind: str) -> bool:
            if kind != NODE:
                return site.kill(kind)
            nodes.lose_worker()
            return True

        kinds = [*PROCESSES, NODE]
        storm, made = ride_out(
            site,
            requests,
            in_turns(kinds, JOBS // JOBS_PER_BLOW, chance),
            strike,
            tmp_path / "output",
            chance,
        )
        expected = [undisturbed[index % SONGS] for index in range(JOBS)]
        differences = compare(list(made.values()), expected)
        with capsys.disabled():
            print(f"\n{JOBS} jobs: {storm}", *differences, sep="\n")
        assert set(storm.killed) == set(kinds)
        assert not [difference for difference in differences if "codes" not in difference]
        assert len(differences) <= MOST_TIES
        counts = site.ask("GET", "/v1/stats").json()["jobs"]
        assert counts["succeeded"] == sum(counts.values()) == SONGS + JOBS
        assert usage_differs(site) == []
