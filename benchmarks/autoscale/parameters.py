"""What the simulated cluster is like: the numbers to replace by your own.

Speeds are estimates: no GPU was measured. They follow from the models' sizes and 40 %
of what the GPU can do in bfloat16 (L4: 300 GB/s, 121 TFLOP/s; H100: 3.35 TB/s, 989 TFLOP/s). A Generator and
a Codec share a GPU; the speed of each is what it is while the other is busy. Cold starts are the sum of a
measured part and of estimates (`cold_start`).
"""

from dataclasses import dataclass

from ray.serve._private.constants import RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S

CONTROL_SECONDS = 2.0
"""Time between the controller's decisions. Serve decides every 0.1 s; nothing here happens so fast."""
PUSH_SECONDS: float = RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S
"""Between two reports of a handle's requests: what Serve itself takes, 10 s by default."""
RECORDS_PER_LOOK_BACK = 0.2
"""RAY_SERVE_AUTOSCALING_METRIC_RECORD_INTERVAL_FACTOR, Serve's default."""
LOSS_NOTICED_SECONDS = 3.0
"""From a node's death to its calls' errors; a killed node of a test cluster took 2.6 s."""
STARTED_SECONDS = {"LanguageModel": 14.0, "Generator": 5.0, "Codec": 5.0}
"""Measured: from Serve's decision to a replica that answers, on a checkpoint that weighs nothing: a process,
imports, engines. The shortest of some 120 starts each in the controller's log, on two cores of a Xeon."""
DISK_GIGABYTES_PER_SECOND = 1.0
GRAPH_SECONDS = {"LanguageModel": 30.0, "Generator": 10.0, "Codec": 5.0}
"""CUDA context, warm-up, and what vLLM captures and profiles."""
NODE_SECONDS = 120.0
"""From the order for a new node to Ray on it."""
NODES_ORDERED = 1 / 3
"""Share of the replicas for which there is no node yet: each replica waits for so much of a node."""


def cold_start(deployment: str, gigabytes: float) -> float:
    """Seconds from the decision to the first request of a replica that loads so much from a local disk."""
    node = NODES_ORDERED * NODE_SECONDS
    return (
        STARTED_SECONDS[deployment] + gigabytes / DISK_GIGABYTES_PER_SECOND + GRAPH_SECONDS[deployment] + node
    )


@dataclass(frozen=True)
class Speed:
    """One replica of a deployment."""

    alone: float
    """Units a second of the only job on it."""
    full: float
    """Units a second of all its jobs together, when it has as many as it takes side by side."""
    side_by_side: int
    cold_start_seconds: float
    """From the decision to the first request."""

    def seconds_per_unit(self, jobs: int) -> float:
        """Until each of `jobs` has one unit more: a part that they share and one that each adds."""
        return self._shared + self._own * jobs

    def jobs_at(self, share: float) -> float:
        """Jobs side by side with which a replica gets so much of `full` done."""
        rate = share * self.full
        return rate * self._shared / (1.0 - rate * self._own)

    @property
    def _own(self) -> float:
        return (self.side_by_side / self.full - 1.0 / self.alone) / (self.side_by_side - 1)

    @property
    def _shared(self) -> float:
        return 1.0 / self.alone - self._own


Fleet = dict[str, Speed]
"""By deployment, in the order in which a job goes through them; in the units of serve_app.autoscaling."""

L4: Fleet = {
    "LanguageModel": Speed(
        alone=60.0, full=320.0, side_by_side=8, cold_start_seconds=cold_start("LanguageModel", 3.7)
    ),
    "Generator": Speed(
        alone=300.0, full=435.0, side_by_side=8, cold_start_seconds=cold_start("Generator", 6.0)
    ),
    "Codec": Speed(alone=40.0, full=50.0, side_by_side=4, cold_start_seconds=cold_start("Codec", 0.3)),
}
"""The 1.7B language model, the 2B turbo DiT (8 steps)."""

H100: Fleet = {
    "LanguageModel": Speed(
        alone=320.0, full=2500.0, side_by_side=16, cold_start_seconds=cold_start("LanguageModel", 8.4)
    ),
    "Generator": Speed(
        alone=2400.0, full=3500.0, side_by_side=8, cold_start_seconds=cold_start("Generator", 11.2)
    ),
    "Codec": Speed(alone=300.0, full=350.0, side_by_side=4, cold_start_seconds=cold_start("Codec", 0.3)),
}
"""The 4B language model, an XL DiT, and jobs of four songs each."""


@dataclass(frozen=True)
class Mix:
    """What songs clients ask for: lengths from a lognormal distribution, within bounds."""

    median_seconds: float
    spread: float
    """Standard deviation of the logarithm."""
    longest_seconds: float
    rows: int
    """How often the DiT is asked about a song: steps, twice where it is guided."""
    songs: int = 1
    """In a job, side by side."""
    shortest_seconds: float = 10.0


TURBO = Mix(median_seconds=90.0, spread=0.6, longest_seconds=300.0, rows=8)
GUIDED = Mix(median_seconds=180.0, spread=0.4, longest_seconds=480.0, rows=100, songs=4)
