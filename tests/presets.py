"""The config files that the repository ships, read as Serve reads them."""

from pathlib import Path
from typing import Any

import yaml
from ray.serve._private.utils import DEFAULT
from ray.serve.schema import DeploymentSchema, ServeApplicationSchema, ServeDeploySchema

from configs.settings import PROJECT_ROOT

EMBEDDED = PROJECT_ROOT / "serve_config.yaml"
KUBERAY = PROJECT_ROOT / "configs" / "kuberay.yaml"
CLUSTER = PROJECT_ROOT / "configs" / "cluster.yaml"
MULTI_GPU_NODE = PROJECT_ROOT / "configs" / "multi_gpu_node.yaml"
CPU = PROJECT_ROOT / "configs" / "cpu.yaml"
PRESETS = sorted({*(PROJECT_ROOT / "configs").glob("*.yaml")} - {KUBERAY, CPU})
"""The presets for GPUs."""
SINGLE_GPU = [preset for preset in PRESETS if preset.stem.startswith("single_gpu")]
SECTIONS = {"LanguageModel": "language_model", "Generator": "generator", "Codec": "codec"}
"""The section of the settings for each kind of engine."""


def application(config: Path) -> ServeApplicationSchema:
    (only,) = ServeDeploySchema.model_validate(yaml.safe_load(config.read_text())).applications
    return only


def arguments(config: Path) -> dict[str, Any]:
    return dict(application(config).args)


def engines(config: Path) -> dict[str, str]:
    """The section of the settings for each deployment of an engine that the file names."""
    names = [deployment.name for deployment in application(config).deployments]
    return {name: SECTIONS[name.partition("-")[0]] for name in names if name != "Ingress"}


def num_gpus(config: Path) -> dict[str, float]:
    return {
        deployment.name: deployment.ray_actor_options.model_dump(exclude_unset=True).get("num_gpus", 0)
        for deployment in application(config).deployments
    }


def replicas(deployment: DeploymentSchema) -> int:
    """Return the largest number of replicas of a deployment."""
    scaled = deployment.autoscaling_config
    if isinstance(scaled, dict):
        return int(scaled["max_replicas"])
    return 1 if deployment.num_replicas is DEFAULT.VALUE else int(deployment.num_replicas)
