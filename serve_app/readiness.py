"""Whether a deployment can serve: what Serve says about its replicas, and whether one of them answers."""

from collections.abc import Mapping

from ray.serve.schema import DeploymentStatus, DeploymentStatusOverview, ReplicaState

from serve_app.api.service import Readiness

Overviews = Mapping[str, DeploymentStatusOverview]
"""By deployment."""


def running_replicas(overview: DeploymentStatusOverview) -> int:
    """Replicas that can take work."""
    count: int = overview.replica_states.get(ReplicaState.RUNNING, 0)
    return count


def unasked(overview: DeploymentStatusOverview | None) -> Readiness | None:
    """What is known without asking; None where a replica should say so itself."""
    if overview is None or running_replicas(overview):
        return None
    match overview.status:
        case DeploymentStatus.HEALTHY:
            return Readiness.SCALED_TO_ZERO
        case DeploymentStatus.UPSCALING | DeploymentStatus.DOWNSCALING:
            return Readiness.STARTING
        case _:
            return Readiness.AWAY


def unanswered(overview: DeploymentStatusOverview | None) -> Readiness:
    """Of a deployment that was asked and did not answer in time."""
    if overview is not None and running_replicas(overview):
        return Readiness.BUSY
    return unasked(overview) or Readiness.AWAY
