"""A new release and changed settings, deployed while jobs wait and run."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from serve_app.ray_access import private_ray
from tests.chaos.site import Site

JOBS = 16
SONG = {
    "caption": "a song between two releases",
    "thinking": True,
    "audio_duration": 20.0,
    "batch_size": 1,
    "audio_format": "wav",
}
QUEUE_LIMIT = 77
"""A setting of the new release."""


def with_two_ingress_replicas(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config file with two replicas of the API, of which one answers while the other restarts."""
    (application,) = config["applications"]
    ingress, *others = application["deployments"]
    assert ingress["name"] == "Ingress"
    deployments = [ingress | {"num_replicas": 2}, *others]
    return config | {"applications": [application | {"deployments": deployments}]}


def deploy_between_jobs(site: Site, address: str, config: dict[str, Any], folder: Path) -> list[str]:
    """Submit half of the jobs, deploy, and submit the others. Return the ids of all, which have succeeded.

    `address` is that of the Ray cluster on which the application runs.
    """
    job_ids: list[str] = []

    def submit_until(count: int) -> None:
        job_ids.extend(
            site.submit(SONG | {"seed": index}, f"release-{index}") for index in range(len(job_ids), count)
        )

    submit_until(JOBS // 2)
    site.finished(job_ids[:1])
    (application,) = config["applications"]
    jobs = application["args"]["jobs"] | {"queue_limit": QUEUE_LIMIT}
    changed = application | {
        "runtime_env": {"env_vars": {"RELEASE": "2"}},  # Every replica starts anew.
        "args": application["args"] | {"jobs": jobs},
    }
    _deploy(config | {"applications": [changed]}, folder, address)
    assert site.ended(job_ids) < len(job_ids)
    submit_until(JOBS)
    site.finished(job_ids)
    assert site.ask("GET", "/v1/stats").json()["queue_limit"] == QUEUE_LIMIT
    return job_ids


def _deploy(config: dict[str, Any], folder: Path, address: str) -> None:
    """Deploy as `serve run` does when an application of the same name already runs."""
    file = folder / "release.yaml"
    file.write_text(yaml.safe_dump(config))
    serve = Path(sys.executable).with_name("serve")
    command = [serve, "run", "--address", address, "--non-blocking", file]
    subprocess.run(command, check=True, capture_output=True, env=private_ray())
