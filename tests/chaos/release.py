"""A new release and changed settings, deployed while jobs wait and run."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from serve_app.ray_access import private_ray
from tests.chaos.site import PATIENCE_SECONDS, Site

SONG = {
    "caption": "a song between two releases",
    "thinking": True,
    "audio_duration": 10.0,
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


def with_default_leases(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config file with leases that outlast the start of a tracker on a busy machine."""
    (application,) = config["applications"]
    arguments = application["args"]
    jobs = {name: value for name, value in arguments["jobs"].items() if name != "lease_seconds"}
    return config | {"applications": [application | {"args": arguments | {"jobs": jobs}}]}


def deploy_between_jobs(site: Site, address: str, config: dict[str, Any], folder: Path) -> list[str]:
    """Submit a job a second until the new release runs. Return the ids of all jobs, which have succeeded.

    `address` is that of the Ray cluster on which the application runs.
    """
    (application,) = config["applications"]
    jobs = application["args"]["jobs"] | {"queue_limit": QUEUE_LIMIT}
    changed = application | {
        "runtime_env": {"env_vars": {"RELEASE": "2"}},  # Every replica starts anew.
        "args": application["args"] | {"jobs": jobs},
    }
    job_ids: list[str] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    with _deploying(config | {"applications": [changed]}, folder, address) as deploying:
        while site.ask("GET", "/v1/stats").json()["queue_limit"] != QUEUE_LIMIT:
            job_ids.append(site.submit(SONG | {"seed": len(job_ids)}, f"release-{len(job_ids)}"))
            assert time.monotonic() < deadline, "the new release does not start"
            time.sleep(1)
    assert deploying.returncode == 0
    job_ids.append(site.submit(SONG, "released"))
    assert site.ended(job_ids[-2:]) < 2
    site.finished(job_ids)
    return job_ids


def _deploying(config: dict[str, Any], folder: Path, address: str) -> subprocess.Popen[bytes]:
    """Deploy as `serve run` does when an application of the same name already runs."""
    file = folder / "release.yaml"
    file.write_text(yaml.safe_dump(config))
    serve = Path(sys.executable).with_name("serve")
    command = [serve, "run", "--address", address, "--non-blocking", file]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=private_ray())
