"""Runs configs/cluster.yaml on nodes with pretended GPUs. Its resources are unchanged, its models tiny."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
import yaml
from ray import serve

from benchmarks.tiny_models import TINY_MODELS
from deployments.checkpoints.location import checkpoint_folder
from serve_app.local_server import local_server
from tests.chaos.site import PATIENCE_SECONDS, Site, site_of
from tests.ports import free_port
from tests.presets import CLUSTER
from tests.ray_nodes import RayNodes

pytestmark = pytest.mark.slow

JOBS = 30
WEB_NODE = {"num_cpus": 2, "labels": {"pool": "web"}}
LANGUAGE_MODEL_NODE = {"num_cpus": 4, "num_gpus": 1, "labels": {"pool": "language-model"}}
AUDIO_NODE = {"num_cpus": 6, "num_gpus": 1, "labels": {"pool": "audio"}}
SONG = {
    "caption": "a song on many nodes",
    "lyrics": "Hello world",
    "thinking": True,
    "audio_duration": 20.0,
    "batch_size": 1,
    "audio_format": "wav",
}
# The speeds are those of this machine and not of an H100, so that thirty songs need two Generators.
UNITS_PER_SECOND = {"LanguageModel": 1000, "Generator": 100, "Codec": 40}
HOLD_SECONDS = 20.0
EMBEDDED = {
    "acestep-v15-xl-turbo": "acestep-v15-turbo",
    "acestep-5Hz-lm-4B": "acestep-5Hz-lm-0.6B",
    "Qwen3-Embedding-0.6B": "Qwen3-Embedding-0.6B",
    "vae": "vae",
}
"""For each checkpoint of the preset, the one that replaces it here."""


def preset_on_a_cpu(folder: Path) -> dict[str, Any]:
    """Return the preset with another device, model folder, storage, store and port."""
    models = folder / "models"
    models.mkdir()
    for name, stand_in in EMBEDDED.items():
        (models / name).symlink_to(checkpoint_folder(TINY_MODELS, stand_in))
    config: dict[str, Any] = yaml.safe_load(CLUSTER.read_text())
    config["http_options"] |= {"host": "127.0.0.1", "port": free_port()}
    config["proxy_location"] = "HeadOnly"  # The nodes share one machine and therefore its ports.
    (application,) = config["applications"]
    application["autoscaling_policy"]["policy_kwargs"] |= {
        "units_per_second": UNITS_PER_SECOND,
        "hold_seconds": HOLD_SECONDS,
    }
    settings = application["args"]
    settings["models"]["folder"] = str(models)
    for section in ("language_model", "generator", "codec"):
        settings[section] |= {"device": "cpu", "dtype": "float32", "threads": 1}
    settings["language_model"]["kv_cache_bytes"] = 256 << 20
    settings["jobs"]["store"] = str(folder / "jobs.sqlite3")
    settings["storage"]["uri"] = str(folder / "output")
    return config


def running(deployment: str) -> int:
    return serve.status().applications["acestep"].deployments[deployment].replica_states.get("RUNNING", 0)


def wait_for(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come to pass: {serve.status()}"
        time.sleep(0.5)


def states(site: Site, job_ids: list[str]) -> list[str]:
    return [site.job(job_id)["status"] for job_id in job_ids]


def test_the_preset_scales_up_and_down_and_outlives_a_node(
    ray_nodes: Callable[..., RayNodes], tmp_path: Path
) -> None:
    nodes = ray_nodes(**WEB_NODE)
    for node in (WEB_NODE, LANGUAGE_MODEL_NODE, AUDIO_NODE):
        nodes.add(**node)
    with (
        local_server(preset_on_a_cpu(tmp_path), tmp_path / "serve.log", nodes.address) as server,
        httpx.Client(timeout=60) as http,
    ):
        site = site_of(server, http)
        ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
        assert (running("Ingress"), running("Generator"), running("Codec")) == (2, 1, 1)
        second = nodes.add(**AUDIO_NODE)

        job_ids = [site.submit(SONG | {"seed": seed}, f"job-{seed}") for seed in range(JOBS)]
        wait_for("a second Generator", lambda: running("Generator") == running("Codec") == 2)
        wait_for("work on it", lambda: "running" in states(site, job_ids))
        before = states(site, job_ids)
        assert before.count("succeeded") < JOBS
        nodes.lose(second)
        results = site.finished(job_ids)

        for result in results.values():
            song = site.ask("GET", result["first_audio_path"]).raise_for_status()
            assert len(song.content) > SONG["audio_duration"] * 48_000 * 2 * 2
        counts = site.ask("GET", "/v1/stats").json()["jobs"]
        assert counts == counts | {"succeeded": JOBS, "failed": 0, "queued": 0, "running": 0}

        nodes.add(**AUDIO_NODE)
        wait_for("one Generator for no work", lambda: running("Generator") == running("Codec") == 1)
        assert site.finished([site.submit(SONG, "afterwards")])
