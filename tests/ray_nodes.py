"""Ray in the test's own process, and clusters of several nodes with processes, labels and pretended GPUs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import psutil
import pytest

from serve_app.local_server import RAY_WAS_SLOW

ADDRESS = "127.0.0.2"
"""A loopback address that nobody else can reach.

Ray takes 127.0.0.1 as a request to find the address itself.
"""


_Started = TypeVar("_Started")

STARTS = 4
"""How often Ray may be too slow to start, on a busy machine, before it is an error."""


@contextmanager
def local_ray() -> Iterator[None]:
    """Run Ray for the current process, with one CPU and without a dashboard."""
    import ray

    options = {"num_cpus": 1, "include_dashboard": False, "log_to_driver": False}
    _started(lambda: ray.init(address="local", **options))
    try:
        yield
    finally:
        ray.shutdown()


def _started(start: Callable[[], _Started]) -> _Started:
    """Start processes of Ray. They are started again if Ray gives up because they are slow."""
    for left in reversed(range(STARTS)):
        before = set(psutil.Process().children())
        try:
            return start()
        except Exception as error:
            if not left or RAY_WAS_SLOW not in str(error):
                raise
        for process in set(psutil.Process().children()) - before:
            process.kill()
    raise AssertionError("the last start returns or raises")


class RayNodes:
    """A head and further nodes, which can be lost."""

    def __init__(self, **head: Any) -> None:
        from ray.cluster_utils import Cluster  # Runs without a cluster need not wait for this import.

        options = {"node_ip_address": ADDRESS, "include_dashboard": False, **head}
        self._cluster = _started(lambda: Cluster(initialize_head=True, head_node_args=options))

    @property
    def address(self) -> str:
        address: str = self._cluster.address
        return address

    def add(self, **node: Any) -> Any:
        return _started(lambda: self._cluster.add_node(node_ip_address=ADDRESS, **node))

    def lose(self, node: Any) -> None:
        """End the node and all of its processes without notice."""
        self._cluster.remove_node(node, allow_graceful=False)

    def roots(self) -> list[int]:
        """Return the ids of the processes from which all others of the cluster descend."""
        return [
            info.process.pid
            for node in self._cluster.list_all_nodes()
            for processes in node.all_processes.values()
            for info in processes
        ]

    def end(self) -> None:
        import ray

        ray.shutdown()
        self._cluster.shutdown()


@pytest.fixture
def ray_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., RayNodes]]:
    """Start a cluster: `ray_nodes(num_cpus=2, labels=…)` takes the options of its head."""
    # The nodes are started here and applications on them by other processes, so they cannot share a token.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with ExitStack() as ends:

        def start(**head: Any) -> RayNodes:
            nodes = RayNodes(**head)
            ends.callback(nodes.end)
            return nodes

        yield start
