"""Stores as releases wrote them: `tests/data/job_store` holds one of each kind and layout.

`python -m tests.golden_stores NAME` writes those of this release, `NAME.sql` and `NAME.redis.json`. Use it
with a new name when the stored layout changes. The files of earlier releases stay, because their stores must
still open.
"""

import base64
import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis

from configs.domain import EARLIER_SAMPLING, Task
from deployments.common.messages import Metadata
from serve_app.jobs.model import BatchMember, Callback, Checkpoint, IdempotencyKey, Job, JobState, Place
from serve_app.jobs.storing.redis_store import RedisJobStore
from serve_app.jobs.storing.sqlite_store import SqliteJobStore
from serve_app.jobs.usage import Counted, Usage
from serve_app.request.repainting import RepaintSpan
from serve_app.request.schemas import GenerateRequest
from serve_app.request.song_plan import SongPlan
from serve_app.request.spec import JobSpec, Recording
from serve_app.request.work import Work
from tests.redis_server import RedisServer

FOLDER = Path(__file__).parent / "data" / "job_store"
LAYOUTS = ("layout_1b", "layout_1c", "layout_2", "layout_2b", "layout_2c", "layout_2d")
"""Names of the files with the jobs below; the newest is last."""
BEFORE_SAMPLING = LAYOUTS[: LAYOUTS.index("layout_2c")]
"""Names of the files whose requests name no version of sampling."""
BEFORE_USAGE = LAYOUTS[: LAYOUTS.index("layout_2d")]
"""Names of the files without deadlines, request ids and shares in the usage."""
BEFORE_MODELS = "layout_1b"
"""Name of the files whose jobs name no DiT and whose work is not divided between checkpoints."""


def golden_jobs() -> dict[str, Job]:
    """Return a running job with a value in every field, and one that has succeeded."""
    request = GenerateRequest(
        caption="ein ruhiges Klavier ♯",
        lyrics="[verse]\nLa la",
        thinking=True,
        vocal_language="de-AT",
        bpm=120,
        key_scale="B♭ dorian",
        time_signature=6,
        audio_duration=20.5,
        audio_code_string=["1,2", "<|audio_code_3|>"],
        use_random_seed=False,
        seed="7,8",
        batch_size=2,
        lm_top_k=40,
        src_audio_path="/v1/audio/x",
        task_type=Task.REPAINT,
        repainting_start=-1.5,
        repainting_end=3.0,
        shift=2.0,
        timesteps=[0.97, 0.5, 0],
        track_classes="drums|bass",
        callback_url="https://example.org/done",
        callback_events=("started", "finished"),
        priority=3,
        start_within_seconds=60.0,
        keep_seconds=3600.0,
    )
    plan = SongPlan(
        Task.REPAINT, Metadata(120, "C Major", "4/4"), (20.5, 20.5), RepaintSpan(0.0, 1.5, 1.5, 0.0), True
    )
    running = Job(
        "8c1f0000-0000-4000-8000-000000000011",
        JobSpec(
            request,
            (7, 8),
            ((1, 2), (3,)),
            Recording("uploads/a.wav", 20.25),
            dit="acestep-v15-turbo",
            notes=("A note.",),
        ),
        Work(
            1,
            (1.0, 2.0, 2.0, 2.0, 1.0),
            (0.0, 100.0, 320.0, 40.0, 41.0),
            models={"denoising/acestep-v15-turbo": (2.0, 320.0, 0.0)},
        ),
        Place(-3, 12.5, 41, 52.5),
        created_at=1_700_000_000.25,
        client="alice",
        uploaded_bytes=1234,
        idempotency=IdempotencyKey("k-1", "ffffffff"),
        state=JobState.RUNNING,
        stage="denoising",
        progress=0.375,
        started_at=1_700_000_001.5,
        attempt=2,
        forgiven=1,
        lease_token="token",
        lease_expires_at=31.5,
        checkpoint=Checkpoint(plan, ((5, 6), None), {"planning": 0.5}),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        queued_at=1_700_000_000.5,
        claimed_at=1_700_000_001.75,
        submitted_at=1_700_000_000.0,
        start_by=1_700_000_060.25,
        request_id="request-1",
        batch=BatchMember("b41.2.00112233445566778899", "https://example.org/batch"),
    )
    succeeded = Job(
        "8c1f0000-0000-4000-8000-000000000012",
        JobSpec(GenerateRequest(callback_url="https://example.org/done"), (9,)),
        Work(1, (1.0,) * 5, (0.0, 50.0, 160.0, 20.0, 20.0)),
        Place(0, 1.0, 42, 41.0),
        created_at=1_700_000_002.0,
        client="bob",
        state=JobState.SUCCEEDED,
        stage="done",
        progress=1.0,
        started_at=1_700_000_003.0,
        finished_at=1_700_000_009.0,
        attempt=1,
        result={"bpm": 120, "timings": {"denoising": 2.5}},
        files=("results/b/0.mp3",),
        file_bytes=9000,
        callback=Callback(1_700_000_011.0, attempts=1),
        submitted_at=1_700_000_002.0,
        keep_until=1_700_003_609.0,
        batch=BatchMember("b41.2.00112233445566778899", "https://example.org/batch"),
        batch_callback=Callback(1_700_000_012.0, attempts=2),
        counted=Counted("2023-11-14", Usage(1, 0, 0, 20_000, 50, 10, 2_500, 20)),
    )
    return {job.job_id: job for job in (running, succeeded)}


def jobs_of(layout: str) -> dict[str, Job]:
    """Return the jobs of a golden file as this release reads them."""
    jobs = golden_jobs()
    if layout in BEFORE_SAMPLING:
        jobs = {job_id: job.with_(spec=_sampled_earlier(job.spec)) for job_id, job in jobs.items()}
    if layout in BEFORE_USAGE:
        jobs = {job_id: _without_usage(job) for job_id, job in jobs.items()}
    if layout == BEFORE_MODELS:
        jobs = {
            job_id: job.with_(spec=replace(job.spec, dit=None), work=replace(job.work, models={}))
            for job_id, job in jobs.items()
        }
    return jobs


def _without_usage(job: Job) -> Job:
    fields = ("callback_events", "start_within_seconds", "keep_seconds")
    defaults = {name: GenerateRequest.model_fields[name].default for name in fields}
    spec = replace(job.spec, request=job.spec.request.model_copy(update=defaults))
    absent = ("start_by", "request_id", "keep_until", "counted", "batch", "batch_callback")
    return job.with_(spec=spec, **dict.fromkeys(absent))


def _sampled_earlier(spec: JobSpec) -> JobSpec:
    return replace(spec, request=spec.request.model_copy(update={"sampling": EARLIER_SAMPLING}))


def restore_sqlite(name: str, path: Path) -> None:
    """Create the database that a golden file describes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.executescript((FOLDER / f"{name}.sql").read_text())


def restore_redis(name: str, url: str, prefix: str) -> None:
    """Execute the commands of a golden file with another prefix of the keys."""
    commands = json.loads((FOLDER / f"{name}.redis.json").read_text())
    with redis.Redis.from_url(url) as client:
        for command, key, *arguments in commands:
            client.execute_command(command, f"{prefix}:{key}", *map(_plain, arguments))


def _plain(argument: Any) -> Any:
    return base64.b64decode(argument["base64"]) if isinstance(argument, dict) else argument


def _told(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _dump_sqlite(path: Path) -> str:
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE meta SET value = zeroblob(32) WHERE name = 'secret'")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        return "\n".join([*database.iterdump(), f"PRAGMA user_version = {version};", ""])


def _dump_redis(client: redis.Redis, prefix: str) -> list[list[Any]]:
    commands: list[list[Any]] = []
    keys: list[Any] = sorted(client.scan_iter(f"{prefix}:*"))
    for key in keys:
        name = key.decode().removeprefix(f"{prefix}:")
        if client.type(key) == b"hash":
            fields: dict[Any, Any] = client.hgetall(key)
            words = [_told(word) for field in sorted(fields.items()) for word in field]
            commands.append(["HSET", name, *words])
        else:
            members: list[Any] = client.zrange(key, 0, -1, withscores=True)
            words = [word for member, score in members for word in (repr(score), _told(member))]
            commands.append(["ZADD", name, *words])
    return commands


def main() -> None:
    name = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jobs.sqlite3"
        with closing(SqliteJobStore(path)) as store:
            store.write(golden_jobs())
        (FOLDER / f"{name}.sql").write_text(_dump_sqlite(path))
        server = RedisServer(Path(folder))
        try:
            with closing(RedisJobStore(f"{server.url}?prefix=golden")) as redis_store:
                redis_store.write(golden_jobs())
            with redis.Redis.from_url(server.url) as client:
                client.hset("golden:meta", "secret", bytes(32))
                commands = _dump_redis(client, "golden")
        finally:
            server.kill()
        (FOLDER / f"{name}.redis.json").write_text(json.dumps(commands, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
