"""The presets for many GPUs: pools, scaling, drain times, and their manifest for Kubernetes."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy
from ray.serve.schema import ServeDeploySchema

from configs.domain import code_count
from configs.settings import Settings
from serve_app.autoscaling import ScaleByWork
from tests.presets import (
    CLUSTER,
    KUBERAY,
    MULTI_GPU_NODE,
    application,
    arguments,
    engines,
    num_gpus,
    replicas,
)


def kuberay() -> dict[str, dict[str, Any]]:
    """Return the manifest's objects by kind, without the kind of which there are several."""
    documents = yaml.safe_load_all(KUBERAY.read_text())
    return {found["kind"]: found for found in documents if found["kind"] != "PodDisruptionBudget"}


def budgets() -> list[dict[str, Any]]:
    """Return the specification of each PodDisruptionBudget of the manifest."""
    documents = yaml.safe_load_all(KUBERAY.read_text())
    return [found["spec"] for found in documents if found["kind"] == "PodDisruptionBudget"]


def groups_of(budget: dict[str, Any]) -> set[str]:
    """Return the groups of workers whose pods a budget selects."""
    selector = budget["selector"]
    one = selector["matchLabels"].get("ray.io/group")
    expressions = selector.get("matchExpressions", [])
    listed = [expression["values"] for expression in expressions if expression["key"] == "ray.io/group"]
    return {one} if one else set(listed[0])


def worker_groups() -> dict[str, dict[str, Any]]:
    """Return the manifest's node pools by label."""
    groups = kuberay()["RayService"]["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    return {group["labels"]["pool"]: group for group in groups}


def test_the_cluster_keeps_its_pools_apart():
    pools = {
        deployment.name: deployment.ray_actor_options.label_selector["pool"]
        for deployment in application(CLUSTER).deployments
    }
    assert pools == {
        "Ingress": "web",
        "LanguageModel": "language-model",
        "Generator": "audio",
        "Codec": "audio",
    }


def test_the_cluster_is_scaled_by_the_policy_and_by_no_delays_beside_it():
    scaled = {
        deployment.name: AutoscalingConfig(**deployment.autoscaling_config)
        for deployment in application(CLUSTER).deployments
        if isinstance(deployment.autoscaling_config, dict)
    }
    policy = AutoscalingPolicy(**application(CLUSTER).autoscaling_policy)
    assert policy.policy_function == "serve_app.autoscaling:ScaleByWork"
    assert set(scaled) == set(policy.policy_kwargs["units_per_second"]) == set(engines(CLUSTER))
    assert {(config.upscale_delay_s, config.downscale_delay_s) for config in scaled.values()} == {(0, 0)}
    ScaleByWork(**policy.policy_kwargs)
    for group in policy.policy_kwargs["together"]:
        bounds = {(scaled[name].min_replicas, scaled[name].max_replicas) for name in group}
        assert len(bounds) == 1


def test_the_policy_asks_the_tracker_that_the_application_starts():
    jobs = Settings(**arguments(CLUSTER)).jobs
    policy_kwargs = inspect.signature(ScaleByWork).parameters
    given = application(CLUSTER).autoscaling_policy["policy_kwargs"]
    for name in ("tracker_name", "tracker_namespace"):
        assert given.get(name, policy_kwargs[name].default) == getattr(jobs, name)


@pytest.mark.parametrize("preset", [MULTI_GPU_NODE, CLUSTER], ids=lambda path: path.stem)
def test_replicas_that_stop_may_finish_the_longest_song(preset: Path):
    slowest_codes_a_second = 20
    longest = code_count(Settings(**arguments(preset)).api.max_duration) / slowest_codes_a_second
    for deployment in application(preset).deployments:
        if deployment.name in engines(preset):
            assert deployment.graceful_shutdown_timeout_s > 2 * longest


def test_the_cluster_keeps_what_must_last_outside_of_its_nodes():
    settings = Settings(**arguments(CLUSTER))
    assert settings.jobs.store.startswith("redis://")
    assert settings.storage.uri.startswith("s3://")
    config = ServeDeploySchema.model_validate(yaml.safe_load(CLUSTER.read_text()))
    assert config.logging_config.encoding == "JSON"
    assert settings.tracing.exporter == "otlp"
    assert config.proxy_location == "EveryNode"


def test_there_are_runners_for_the_largest_fleet():
    deployments = {deployment.name: deployment for deployment in application(CLUSTER).deployments}
    runners = Settings(**arguments(CLUSTER)).jobs.runners * deployments["Ingress"].num_replicas
    assert runners >= 16 * replicas(deployments["Generator"])


def test_kubernetes_runs_the_cluster_preset():
    embedded = kuberay()["RayService"]["spec"]["serveConfigV2"]
    text = CLUSTER.read_text()
    assert embedded == text[text.index("proxy_location:") :]


def test_the_nodes_on_kubernetes_hold_the_largest_fleet():
    groups = worker_groups()
    for deployment in application(CLUSTER).deployments:
        pool = groups[deployment.ray_actor_options.label_selector["pool"]]
        assert pool["maxReplicas"] >= replicas(deployment)
        limits = pool["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert int(limits.get("nvidia.com/gpu", 0)) == (1 if num_gpus(CLUSTER)[deployment.name] else 0)


def test_pods_on_kubernetes_outlive_the_calls_of_their_replicas():
    drains = [deployment.graceful_shutdown_timeout_s for deployment in application(CLUSTER).deployments]
    for group in worker_groups().values():
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] > max(drains)
        container = group["template"]["spec"]["containers"][0]
        assert {"readinessProbe", "livenessProbe"} <= set(container)


def test_a_node_on_kubernetes_can_be_drained_and_loses_one_pod_of_a_budget_at_a_time():
    """An eviction fails for a pod of two budgets, and for ever where no owner tells the number of pods."""
    groups = {group["groupName"]: group for group in worker_groups().values()}
    selected = [name for budget in budgets() for name in groups_of(budget)]
    assert sorted(selected) == sorted(groups)  # each group is in one budget, and the head in none
    for budget in budgets():
        assert "maxUnavailable" not in budget
        pods = sum(groups[name]["minReplicas"] for name in groups_of(budget))
        assert budget["minAvailable"] == pods - 1 >= 1
        assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_kubernetes_exposes_nothing_but_the_api():
    objects = kuberay()
    cluster = objects["RayService"]["spec"]["rayClusterConfig"]
    assert cluster["authOptions"]["mode"] == "token"
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert objects["RayService"]["spec"]["excludeHeadPodFromServeSvc"]
    open_to_all = [rule for rule in objects["NetworkPolicy"]["spec"]["ingress"] if "from" not in rule]
    port = ServeDeploySchema.model_validate(yaml.safe_load(CLUSTER.read_text())).http_options.port
    assert open_to_all == [{"ports": [{"port": port, "protocol": "TCP"}]}]


def test_the_head_on_kubernetes_may_die():
    fault_tolerance = kuberay()["RayService"]["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]
    assert fault_tolerance["redisAddress"].startswith("redis://")
    # It is not in the database that holds the jobs.
    assert not fault_tolerance["redisAddress"].endswith(Settings(**arguments(CLUSTER)).jobs.store[-2:])


def test_secrets_come_from_kubernetes_and_stand_in_no_file():
    containers = [group["template"]["spec"]["containers"][0] for group in worker_groups().values()]
    head = kuberay()["RayService"]["spec"]["rayClusterConfig"]["headGroupSpec"]
    for container in [*containers, head["template"]["spec"]["containers"][0]]:
        secret = [
            entry for entry in container["env"] if "PASSWORD" in entry["name"] or "KEY" in entry["name"]
        ]
        assert secret
        assert all("valueFrom" in entry for entry in secret)
        assert [*container["envFrom"][0]] == ["secretRef"]
