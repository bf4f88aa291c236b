"""`make chaos`: CHAOS_JOBS jobs on a cluster of two nodes, under kills of all kinds, a node's among them.

Not part of `make test`.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from ray.cluster_utils import Cluster

from serve_app.local_server import local_server
from tests.chaos.site import PROCESSES, site_of
from tests.chaos.songs import songs
from tests.chaos.storm import chaos_config, compare, in_turns, ride_out

JOBS = int(os.environ.get("CHAOS_JOBS", "200"))
SONGS = min(40, JOBS)
JOBS_PER_BLOW = 5
SEED = int(os.environ.get("CHAOS_SEED", "2026"))
NODE = "node"
NODE_AWAY_SECONDS = 5.0
MOST_TIES = JOBS // 100
"""Songs whose codes may differ: two tokens were as likely but for a rounding error."""


class Nodes:
    """A head, and a worker node that holds the generator and the codec."""

    def __init__(self) -> None:
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        self._worker = self._new_worker()

    def lose_worker(self) -> None:
        """The node and all its processes end without a word; another takes its place later."""
        self.cluster.remove_node(self._worker, allow_graceful=False)
        time.sleep(NODE_AWAY_SECONDS)
        self._worker = self._new_worker()

    def roots(self) -> list[int]:
        return [
            info.process.pid
            for node in self.cluster.list_all_nodes()
            for processes in node.all_processes.values()
            for info in processes
        ]

    def _new_worker(self) -> object:
        return self.cluster.add_node(num_cpus=2, resources={"engines": 1})


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    # The nodes are started here, the application by another process: without a shared token.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    nodes = Nodes()
    yield nodes
    nodes.cluster.shutdown()


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
    address = nodes.cluster.address
    with (
        local_server(config, tmp_path / "serve.log", address) as server,
        httpx.Client(timeout=60) as http,
    ):
        site = site_of(server, http)
        site.roots.append(nodes.roots)
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


def test_a_redeploy_hands_jobs_on_without_counting_an_attempt(nodes: Nodes, tmp_path: Path) -> None:
    config = cluster_config(tmp_path)
    requests = [song | {"audio_duration": 60.0, "thinking": True} for song in songs(6)]
    with (
        local_server(config, tmp_path / "serve.log", nodes.cluster.address) as server,
        httpx.Client(timeout=60) as http,
    ):
        site = site_of(server, http)
        job_ids = [site.submit(song, f"redeploy-{index}") for index, song in enumerate(requests)]
        while site.job(job_ids[0])["status"] == "queued":
            time.sleep(0.05)
        config["applications"][0]["args"]["jobs"]["queue_limit"] = 77
        redeploy(config, tmp_path, nodes.cluster.address)
        assert site.ended(job_ids) < len(job_ids)
        site.finished(job_ids)
        assert site.ask("GET", "/v1/stats").json()["queue_limit"] == 77
    attempts = [path.name for job_id in job_ids for path in (tmp_path / "output" / job_id).iterdir()]
    assert attempts == ["1"] * len(job_ids)


def redeploy(config: dict[str, Any], folder: Path, address: str) -> None:
    """What `serve run` does with a config file where an application of its name already runs."""
    file = folder / "redeploy.yaml"
    file.write_text(yaml.safe_dump(config))
    serve = Path(sys.executable).with_name("serve")
    subprocess.run(
        [serve, "run", "--address", address, "--non-blocking", file], check=True, capture_output=True
    )
