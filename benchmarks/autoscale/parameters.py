"""Holds the parameters of the simulated cluster, which a reader can replace with measurements of their own.

Speeds are estimates, because no GPU was measured. They follow from the models' sizes and 40 % of what the GPU
can do in bfloat16 (L4: 300 GB/s, 121 TFLOP/s; H100: 3.35 TB/s, 989 TFLOP/s). A Generator and a Codec share a
GPU, and the speed of each is its speed while the other is busy. A cold start is the sum of a measured part
and of estimates (`cold_start`).
"""

from dataclasses import dataclass

from ray.serve._private.constants import RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S

CONTROL_SECONDS = 2.0
"""Seconds between two decisions of the controller.

Serve decides every 0.1 s, but nothing here changes so fast.
"""
PUSH_SECONDS: float = RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S
"""Seconds between two reports of a handle's requests. This is Serve's own value, 10 s by default."""
RECORDS_PER_LOOK_BACK = 0.2
"""Serve's default of RAY_SERVE_AUTOSCALING_METRIC_RECORD_INTERVAL_FACTOR."""
LOSS_NOTICED_SECONDS = 3.0
"""Seconds from a node's death until calls to it fail. A killed node of a test cluster took 2.6 s."""
STARTED_SECONDS = {"LanguageModel": 14.0, "Generator": 5.0, "Codec": 5.0}
"""Seconds from Serve's decision until a replica answers, with a checkpoint of negligible size.

They cover the process, imports and engines. Each is the shortest of some 120 starts in the controller's log,
on two cores of a Xeon.
"""
DISK_GIGABYTES_PER_SECOND = 1.0
GRAPH_SECONDS = {"LanguageModel": 30.0, "Generator": 10.0, "Codec": 5.0}
"""Estimated seconds for the CUDA context, warm-up, and the graphs and profiles that vLLM makes."""
NODE_SECONDS = 120.0
"""Estimated seconds from the order for a new node until Ray runs on it."""
NODES_ORDERED = 1 / 3
"""Share of new replicas that need a new node. Each replica waits for this share of a node's start."""


def cold_start(deployment: str, gigabytes: float) -> float:
    """Return the seconds from the decision to a replica's first request. The weights are on a local disk."""
    node = NODES_ORDERED * NODE_SECONDS
    return (
        STARTED_SECONDS[deployment] + gigabytes / DISK_GIGABYTES_PER_SECOND + GRAPH_SECONDS[deployment] + node
    )


@dataclass(frozen=True)
class Speed:
    """The speed of one replica of a deployment."""

    alone: float
    """Units a second when one job is on the replica."""
    full: float
    """Units a second of all jobs together, when the replica has as many as it takes side by side."""
    side_by_side: int
    cold_start_seconds: float
    """Seconds from the decision to the first request."""

    def seconds_per_unit(self, jobs: int) -> float:
        """Return the seconds in which each of `jobs` gets one unit: a shared part and one for each job."""
        return self._shared + self._own * jobs

    def jobs_at(self, share: float) -> float:
        """Return the number of jobs side by side at which a replica reaches this share of `full`."""
        rate = share * self.full
        return rate * self._shared / (1.0 - rate * self._own)

    @property
    def _own(self) -> float:
        return (self.side_by_side / self.full - 1.0 / self.alone) / (self.side_by_side - 1)

    @property
    def _shared(self) -> float:
        return 1.0 / self.alone - self._own


Fleet = dict[str, Speed]
"""The speed of each deployment, in the order in which a job visits them.

Units are those of serve_app.autoscaling.
"""

L4: Fleet = {
    "LanguageModel": Speed(
        alone=60.0, full=320.0, side_by_side=8, cold_start_seconds=cold_start("LanguageModel", 3.7)
    ),
    "Generator": Speed(
        alone=300.0, full=435.0, side_by_side=8, cold_start_seconds=cold_start("Generator", 6.0)
    ),
    "Codec": Speed(alone=40.0, full=50.0, side_by_side=4, cold_start_seconds=cold_start("Codec", 0.3)),
}
"""Speeds with the 1.7B language model and the 2B turbo DiT (8 steps)."""

H100: Fleet = {
    "LanguageModel": Speed(
        alone=320.0, full=2500.0, side_by_side=16, cold_start_seconds=cold_start("LanguageModel", 8.4)
    ),
    "Generator": Speed(
        alone=2400.0, full=3500.0, side_by_side=8, cold_start_seconds=cold_start("Generator", 11.2)
    ),
    "Codec": Speed(alone=300.0, full=350.0, side_by_side=4, cold_start_seconds=cold_start("Codec", 0.3)),
}
"""Speeds with the 4B language model, an XL DiT, and jobs of four songs each."""


@dataclass(frozen=True)
class Mix:
    """The songs that clients ask for. Lengths follow a lognormal distribution within bounds."""

    median_seconds: float
    spread: float
    """Standard deviation of the logarithm of the length."""
    longest_seconds: float
    rows: int
    """DiT rows for one song: its steps, doubled where it is guided."""
    songs: int = 1
    """Songs of one job, which are made side by side."""
    shortest_seconds: float = 10.0


TURBO = Mix(median_seconds=90.0, spread=0.6, longest_seconds=300.0, rows=8)
GUIDED = Mix(median_seconds=180.0, spread=0.4, longest_seconds=480.0, rows=100, songs=4)
