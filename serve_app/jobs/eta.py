"""How long a job will take, from how long recent jobs took."""

from collections import deque
from collections.abc import Mapping


class SpeedHistory:
    """Seconds of recent jobs, in all and by stage."""

    def __init__(self, initial_job_seconds: float, window: int = 50) -> None:
        self._initial_job_seconds = initial_job_seconds
        self._job_seconds: deque[float] = deque(maxlen=window)
        self._stage_seconds: deque[Mapping[str, float]] = deque(maxlen=window)

    def add(self, job_seconds: float, stage_seconds: Mapping[str, float]) -> None:
        """Note a job that succeeded."""
        self._job_seconds.append(job_seconds)
        self._stage_seconds.append(stage_seconds)

    @property
    def average_job_seconds(self) -> float:
        """Mean over the window; the initial guess while it is empty."""
        if not self._job_seconds:
            return self._initial_job_seconds
        return sum(self._job_seconds) / len(self._job_seconds)

    def average_stage_seconds(self) -> dict[str, float]:
        """Mean by stage over the jobs of the window that had it."""
        by_stage: dict[str, list[float]] = {}
        for timings in self._stage_seconds:
            for stage, seconds in timings.items():
                by_stage.setdefault(stage, []).append(seconds)
        return {stage: sum(seconds) / len(seconds) for stage, seconds in by_stage.items()}

    def seconds_until_result(self, queue_position: int, seconds_running: float | None) -> float:
        """ETA of a queued job (`seconds_running` None) or of a running one (position 0)."""
        if seconds_running is None:
            return queue_position * self.average_job_seconds
        return max(0.0, self.average_job_seconds - seconds_running)
