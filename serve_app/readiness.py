"""Readiness of a deployment, from Serve's status of its replicas and whether one of them answers."""

from collections import Counter
from collections.abc import Mapping

from ray.serve.context import _get_global_client
from ray.serve.schema import DeploymentStatus, DeploymentStatusOverview, ReplicaState

from serve_app.api.service import Readiness

Overviews = Mapping[str, DeploymentStatusOverview]
"""Status overviews by deployment name."""


def deployments_of(application: str) -> Overviews:
    """Ask Serve's controller for the overviews of an application's deployments. This blocks.

    `serve.status()` gives the same. It also pickles the class of a request router for each deployment of the
    cluster, which takes 50 ms of a core and delays all requests of the process (Ray 2.60).

    Raises RayActorError if the controller is away, and KeyError if there is no such application.
    """
    details = _get_global_client().get_serve_details()
    return {
        name: DeploymentStatusOverview(
            DeploymentStatus(deployment["status"]),
            deployment["status_trigger"],
            Counter(ReplicaState(replica["state"]) for replica in deployment["replicas"]),
            deployment["message"],
        )
        for name, deployment in details["applications"][application]["deployments"].items()
    }


def running_replicas(overview: DeploymentStatusOverview) -> int:
    """Replicas that can take work."""
    count: int = overview.replica_states.get(ReplicaState.RUNNING, 0)
    return count


def unasked(overview: DeploymentStatusOverview | None) -> Readiness | None:
    """The readiness according to Serve's status; None where a replica should be asked."""
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
    """The readiness of a deployment that was asked and did not answer in time."""
    if overview is not None and running_replicas(overview):
        return Readiness.BUSY
    return unasked(overview) or Readiness.AWAY
