"""A Ray cluster of several nodes on this machine, each with processes, labels and pretended GPUs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

ADDRESS = "127.0.0.2"
"""A loopback address that nobody else can reach.

Ray takes 127.0.0.1 as a request to find the address itself.
"""


class RayNodes:
    """A head and further nodes, which can be lost."""

    def __init__(self, **head: Any) -> None:
        from ray.cluster_utils import Cluster  # Runs without a cluster need not wait for this import.

        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"node_ip_address": ADDRESS, "include_dashboard": False, **head},
        )

    @property
    def address(self) -> str:
        address: str = self._cluster.address
        return address

    def add(self, **node: Any) -> Any:
        return self._cluster.add_node(node_ip_address=ADDRESS, **node)

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
