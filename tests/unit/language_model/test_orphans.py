"""Engine processes whose replica was killed."""

import os
import signal
import subprocess
import sys
import time

import psutil

PARENT = """
import multiprocessing
import time
from tests.unit.language_model.test_orphans import child

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start()
    time.sleep(60)
"""


def child() -> None:
    from deployments.language_model.orphans import end_with_parent

    end_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(60)


def test_an_engine_process_ends_when_its_replica_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    engine = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    gone, _ = psutil.wait_procs([engine], timeout=30)
    assert gone
