"""The bytes that a job's record costs the disk, from its submit to the deletion of its files.

`python -m benchmarks.record_bytes [--store sqlite|redis] [--json FILE]`

Each change of a job is made durable by itself, as on a server with one job. The bytes of SQLite are those
that this process writes to files (its write-ahead log takes whole pages of 4 kB); those of Redis are the
growth of its append-only file.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measuring import show, write_json
from configs.domain import Task, code_token
from configs.settings import JobSettings
from deployments.common.messages import Metadata
from serve_app.jobs.model import Checkpoint, NewJob
from serve_app.jobs.storing.journal import Journal
from serve_app.jobs.storing.stores import open_store
from serve_app.jobs.tracker import JobTracker
from serve_app.request.schemas import GenerateRequest
from serve_app.request.song_plan import SongPlan
from serve_app.request.spec import JobSpec
from serve_app.request.work import Work
from tests.redis_server import RedisServer

Meter = Callable[[], int]
"""Returns the bytes that were written so far."""

TEXT = {"caption": "calm piano " * 20, "lyrics": "[Verse 1]\nla la la la la\n" * 60}
JOBS = {"30 s × 1": (1, 30.0), "600 s × 8": (8, 600.0)}
WORK = Work(1, (1.0,) * 5, (0.0, 300.0, 960.0, 120.0, 120.0), (0.0, 150.0, 480.0, 60.0, 60.0))


def life(tracker: JobTracker, items: int, seconds: float) -> Iterator[tuple[str, Callable[[], object]]]:
    """The changes of one job with `thinking`, in order."""
    codes = tuple(range(10_000, 10_000 + round(5 * seconds)))
    plan = SongPlan(
        Task.TEXT2MUSIC, Metadata(120, "C Major", "4/4"), (seconds,) * items, None, lm_answered=True
    )
    result = {
        "audio_paths": [f"/v1/audio/job/{item}.mp3" for item in range(items)],
        "audio_codes": ["".join(map(code_token, codes))] * items,
        "timings": {"planning": 1.0, "composing": 3.0, "denoising": 5.0, "decoding": 1.0, "encoding": 0.5},
    }
    files = tuple(f"output/job/1/{item}.mp3" for item in range(items))
    spec = JobSpec(GenerateRequest(**TEXT, thinking=True), seeds=tuple(range(items)))
    yield "submit", lambda: tracker.submit(NewJob("job", spec, WORK))
    yield "claim", lambda: tracker.claim("token")
    yield "plan", lambda: tracker.checkpoint("job", "token", Checkpoint(plan, None, {"planning": 1.0}))
    yield (
        "codes",
        lambda: tracker.checkpoint("job", "token", Checkpoint(plan, (codes,) * items, {"planning": 1.0})),
    )
    yield "finish", lambda: tracker.finish("job", "token", result, files, 1000)
    yield "tidy", lambda: _tidy(tracker)


def _tidy(tracker: JobTracker) -> None:
    for job in tracker.ended.untidy():
        tracker.ended.tidied(job)


async def measure(location: str, meter: Meter, items: int, seconds: float) -> dict[str, Any]:
    """The bytes of each change of one job, and their sum."""
    with closing(open_store(location)) as store:
        journal = Journal(store)
        tracker = JobTracker(JobSettings(), journal, time.time)
        found: dict[str, Any] = {}
        for name, change in life(tracker, items, seconds):
            before = meter()
            change()
            await journal.flushed()
            found[name] = meter() - before
    return found | {"all": sum(found.values())}


@contextmanager
def stores(kind: str) -> Iterator[Callable[[str], tuple[str, Meter]]]:
    """Yield a function that returns the location of an empty store, and its meter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if kind == "sqlite":
            yield lambda job: (str(folder / f"{job}.sqlite3"), _written_by_this_process)
            return
        server = RedisServer(folder)
        try:
            yield lambda job: (f"{server.url}?prefix={job}", lambda: _size(folder / "appendonlydir"))
        finally:
            server.kill()


def _written_by_this_process() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", choices=["sqlite", "redis"], default="sqlite")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with stores(options.store) as store_of:
        rows = [
            {"job": name} | asyncio.run(measure(*store_of(str(number)), items, seconds))
            for number, (name, (items, seconds)) in enumerate(JOBS.items())
        ]
    show(f"Bytes written for each change of a job, store {options.store}", rows)
    write_json(options.json, {"store": options.store, "bytes": rows})


if __name__ == "__main__":
    main()
