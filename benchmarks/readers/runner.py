"""A runner that claims a job and does not work on it: the job runs, and takes no time of the processor.

It renews its lease as other runners do, until its standard input ends.
"""

import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.helper_process import helper, when_told_to_end
from configs.settings import JobSettings
from serve_app.admin.running_tracker import RunningTracker, Server, running_tracker
from serve_app.jobs.mode import Mode
from serve_app.jobs.tracker_api import TrackerApi
from serve_app.local_server import ray_address

CLAIM_SECONDS = 30.0
"""How long one claim waits for a job."""
LIMIT_SECONDS = 120.0
"""How long the runner may take to claim its job."""
STAGE, PROGRESS = "denoising", 0.5
"""How the job stands all the time."""


@contextmanager
def claimed_job(pid: int, config: Path) -> Iterator[str]:
    """Claim a job of the server whose `serve run` has this process id; the job runs during the block.

    The server is paused and is resumed by this; more jobs wait than its own runners take at once.
    """
    environment = psutil.Process(pid).environ()
    arguments = (str(config), ray_address(pid))
    with helper("benchmarks.readers.runner", *arguments, environment=environment) as runner:
        job_id = runner.line(LIMIT_SECONDS)
        if not job_id:
            raise RuntimeError(f"the runner claimed no job in {LIMIT_SECONDS:g} s")
        yield job_id


def main() -> None:
    """Resume the server, claim a job, print its id, and renew the lease until standard input ends."""
    _, config, address = sys.argv
    over = threading.Event()
    when_told_to_end(over.set)
    tracker = running_tracker(Server(Path(config), address))
    tracker.ask(TrackerApi.set_mode, Mode.OPEN)  # here, so that the claim comes before the jobs have ended
    token = uuid.uuid4().hex
    job_id = _claimed(tracker, token, over)
    print(job_id, flush=True)
    while not over.wait(JobSettings().heartbeat_seconds):
        tracker.ask(TrackerApi.heartbeat, job_id, token, STAGE, PROGRESS)


def _claimed(tracker: RunningTracker, token: str, over: threading.Event) -> str:
    while not over.is_set():
        if claim := tracker.ask(TrackerApi.claim, token, CLAIM_SECONDS):
            return claim.job.job_id
    raise SystemExit("no job was claimed")


if __name__ == "__main__":
    main()
