"""The job tracker of a running server, for commands."""

import os
import sys
import threading
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from serve_app.admin.config_files import read_application
from serve_app.admin.errors import FAILED, CommandError
from serve_app.jobs.tracker_api import TrackerApi
from serve_app.ray_access import prepare_to_join, rays_here

CONNECT_SECONDS = 30.0
"""Ray itself tries for minutes, even if only the token is wrong."""
ANSWER_SECONDS = 60.0
"""A tracker that was lost answers again within seconds."""

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Server:
    """The options that select a server."""

    config: Path
    """Its Serve config file."""
    address: str
    """The address of its Ray; "auto" is that of `RAY_ADDRESS`, or the only one of this machine."""


@dataclass(frozen=True)
class RunningTracker:
    """A tracker actor, called from outside of the server and without an event loop."""

    actor: Any
    application: str
    """The name of the Serve application that it belongs to."""

    def ask(
        self,
        method: Callable[Concatenate[TrackerApi, _Arguments], Awaitable[_Answer]],
        *arguments: _Arguments.args,
        **_named: _Arguments.kwargs,
    ) -> _Answer:
        """Call a method of `TrackerApi` and wait for its answer: `tracker.ask(TrackerApi.view, job_id)`.

        Raises what the method raises, and CommandError. All arguments are positional, as `TrackerApi` says.
        """
        import ray
        import ray.exceptions

        from deployments.common.errors import StorageError
        from serve_app.execution.failures import cause_of
        from serve_app.jobs.storing.store import StoreError

        try:
            answer: _Answer = ray.get(
                self.actor.call.remote(method.__name__, *arguments), timeout=ANSWER_SECONDS
            )
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
            raise CommandError("the job tracker does not answer; it may be being replaced") from error
        except ray.exceptions.RayTaskError as error:
            cause = cause_of(error)
            if isinstance(cause, StoreError):
                raise CommandError(f"the job store failed: {cause}") from error
            if isinstance(cause, StorageError):
                raise CommandError(f"the storage failed: {cause}") from error
            raise cause from None
        return answer


def running_tracker(server: Server) -> RunningTracker:
    """Find the tracker of a server. Raises CommandError if there is none."""
    application, settings = read_application(server.config)
    _connect(server.address)
    from serve_app.jobs.client import find_tracker

    actor = find_tracker(settings)
    if actor is None:
        raise CommandError(f"no job tracker of {server.config} is running there")
    return RunningTracker(actor, application["name"])


def _connect(address: str) -> None:
    """Join a running Ray. Raises CommandError; ends the process if nothing answers."""
    here = rays_here()
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or _only(here)
    prepare_to_join(here.get(address))
    import ray
    import ray.exceptions

    watchdog = threading.Timer(CONNECT_SECONDS, _give_up, [address])
    watchdog.start()
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.AuthenticationError) as error:
        raise CommandError(f"no Ray to connect to: {error}") from error
    finally:
        watchdog.cancel()


def _only(addresses: Collection[str]) -> str:
    """Return the only address. Raises CommandError if there is none, or more than one."""
    if not addresses:
        raise CommandError("no Ray runs on this machine: name the server's by --address")
    if len(addresses) > 1:
        raise CommandError(f"several Rays run on this machine: name one by --address: {', '.join(addresses)}")
    return next(iter(addresses))


def _give_up(address: str) -> None:
    # A call into Ray cannot be interrupted, so the process ends.
    print(f"error: the Ray at {address} does not answer, or not without another token", file=sys.stderr)
    os._exit(FAILED)
