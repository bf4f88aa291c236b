"""The status that Serve's controller reports for a deployment, and what the server derives from it."""

import pytest
from ray.serve.schema import DeploymentStatus, DeploymentStatusOverview, ReplicaState

from serve_app.api.service import Readiness
from serve_app.readiness import running_replicas, unanswered, unasked


def overview(status: DeploymentStatus, **replicas: int) -> DeploymentStatusOverview:
    states = {ReplicaState[name.upper()]: count for name, count in replicas.items()}
    return DeploymentStatusOverview(status, None, states, "")


def test_only_replicas_that_take_work_count() -> None:
    assert running_replicas(overview(DeploymentStatus.UPSCALING, running=2, starting=3, stopping=1)) == 2
    assert running_replicas(overview(DeploymentStatus.HEALTHY)) == 0


@pytest.mark.parametrize(
    ("status", "replicas", "said"),
    [
        (DeploymentStatus.HEALTHY, {"running": 1}, None),
        (DeploymentStatus.UNHEALTHY, {"running": 1, "starting": 1}, None),
        (DeploymentStatus.HEALTHY, {}, Readiness.SCALED_TO_ZERO),
        (DeploymentStatus.UPSCALING, {"starting": 1}, Readiness.STARTING),
        (DeploymentStatus.DOWNSCALING, {"stopping": 1}, Readiness.STARTING),
        (DeploymentStatus.UPDATING, {"starting": 1}, Readiness.AWAY),
        (DeploymentStatus.UNHEALTHY, {"starting": 1}, Readiness.AWAY),
        (DeploymentStatus.DEPLOY_FAILED, {}, Readiness.AWAY),
    ],
)
def test_a_deployment_without_running_replicas_need_not_be_asked(
    status: DeploymentStatus, replicas: dict[str, int], said: Readiness | None
) -> None:
    assert unasked(overview(status, **replicas)) is said


def test_one_that_serve_knows_nothing_of_is_asked() -> None:
    assert unasked(None) is None
    assert unanswered(None) is Readiness.AWAY


def test_no_answer_of_healthy_replicas_means_that_they_are_busy() -> None:
    assert unanswered(overview(DeploymentStatus.HEALTHY, running=1)) is Readiness.BUSY
    assert unanswered(overview(DeploymentStatus.UNHEALTHY, starting=1)) is Readiness.AWAY
    assert unanswered(overview(DeploymentStatus.UPSCALING, starting=1)) is Readiness.STARTING
