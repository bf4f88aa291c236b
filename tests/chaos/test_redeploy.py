"""A new release and a change of settings while jobs wait and run. No job is lost and none is made twice."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

from serve_app.local_server import local_server
from tests.chaos.site import site_of
from tests.live_server import tiny_config
from tests.ports import free_port
from tests.ray_nodes import RayNodes

JOBS = 16
SONG = {
    "caption": "a song between two releases",
    "thinking": True,
    "audio_duration": 20.0,
    "batch_size": 2,
    "audio_format": "wav",
}


def two_ingress_replicas(folder: Path) -> dict[str, Any]:
    """Return the embedded default with tiny models and two API replicas, so that one always answers."""
    config = tiny_config(free_port(), folder)
    ingress = config["applications"][0]["deployments"][0]
    assert ingress["name"] == "Ingress"
    ingress["num_replicas"] = 2
    return config


def redeploy(config: dict[str, Any], folder: Path, address: str) -> None:
    """Deploy as `serve run` does when an application of the same name already runs."""
    file = folder / "redeploy.yaml"
    file.write_text(yaml.safe_dump(config))
    serve = Path(sys.executable).with_name("serve")
    subprocess.run(
        [serve, "run", "--address", address, "--non-blocking", file], check=True, capture_output=True
    )


def test_a_new_release_and_new_settings_lose_no_job_and_make_none_twice(
    ray_nodes: Callable[..., RayNodes], tmp_path: Path
) -> None:
    config = two_ingress_replicas(tmp_path)
    application = config["applications"][0]
    nodes = ray_nodes(num_cpus=2)
    with (
        local_server(config, tmp_path / "serve.log", nodes.address) as server,
        httpx.Client(timeout=60) as http,
    ):
        site = site_of(server, http)
        job_ids: list[str] = []

        def submit_until(count: int) -> None:
            job_ids.extend(
                site.submit(SONG | {"seed": index}, f"release-{index}")
                for index in range(len(job_ids), count)
            )

        submit_until(JOBS // 2)
        site.finished(job_ids[:1])
        application["runtime_env"] = {"env_vars": {"RELEASE": "2"}}  # Every replica starts anew.
        application["args"]["jobs"]["queue_limit"] = 77
        redeploy(config, tmp_path, nodes.address)
        assert site.ended(job_ids) < len(job_ids)
        submit_until(JOBS)

        site.finished(job_ids)
        stats = site.ask("GET", "/v1/stats").json()
        assert stats["queue_limit"] == 77
        assert stats["jobs"]["succeeded"] == sum(stats["jobs"].values()) == JOBS
    # A release hands jobs on, so no attempt is lost and no other attempt has left a song.
    attempts = [path.name for job_id in job_ids for path in (tmp_path / "output" / job_id).iterdir()]
    assert attempts == ["1"] * JOBS
