"""Each of five known faults, planted in the real code, breaks a rule within 1,000 schedules."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.planted_faults import LEFT_OUT, ROOT, Fault

SCHEDULES = 1000
FAULTS = {
    "the fence is dropped": Fault(
        "serve_app/jobs/storing/store.py",
        before="""    if is_mine and stored_epoch > epoch:
        raise StoreTakenError(TAKEN_OVER.format(store=store))
    if stored_epoch != epoch or not (is_mine or is_as_read):
""",
        after="""    if is_mine and stored_epoch < 0:
        raise StoreTakenError(TAKEN_OVER.format(store=store))
    if not (is_mine or is_as_read):
""",
        nearest=(),
    ),
    "a finish does not compare the token": Fault(
        "serve_app/jobs/tracker.py",
        before="if job is None or job.state is not JobState.RUNNING or job.lease_token != token:",
        after="if job is None or job.state is not JobState.RUNNING:",
        nearest=(),
    ),
    "leases are measured by the wall clock": Fault(
        "serve_app/jobs/tracker.py",
        before="self._steady = steady or wall",
        after="self._steady = wall",
        nearest=(),
    ),
    "files are deleted before the end is synced": Fault(
        "serve_app/jobs/housekeeping/janitor.py",
        before="if job.job_id in job_ids and journal.is_written(job.job_id)",
        after="if job.job_id in job_ids",
        nearest=(),
    ),
    "a claim is forgotten": Fault(
        "serve_app/jobs/durable_tracker.py",
        before="""            try:
                await self._flush(journal)
            except StoreError:
                tracker.release(claim.job.job_id, token)
                raise
""",
        after="""            journal._pending.pop(claim.job.job_id, None)
""",
        nearest=(),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_noticed(name: str, tmp_path: Path) -> None:
    fault, tree = FAULTS[name], tmp_path / "tree"
    shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
    file = tree / fault.file
    file.write_text(file.read_text().replace(fault.before, fault.after))
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "0", str(SCHEDULES), "--stop", "--whole"],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(r"^seed \d+, ", done.stdout, re.MULTILINE), done.stderr[-1000:]


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_still_matches_the_code(name: str) -> None:
    assert (ROOT / FAULTS[name].file).read_text().count(FAULTS[name].before) == 1
