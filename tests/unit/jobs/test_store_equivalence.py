"""A long life of many jobs: at any time each store answers as the store in memory does."""

import random
from collections.abc import Iterator
from contextlib import closing

from serve_app.jobs.model import IdempotencyKey, Job, JobState
from serve_app.jobs.storing.store import JobStore, MemoryJobStore
from serve_app.jobs.storing.stores import open_store
from serve_app.jobs.usage import AMOUNTS, Counted, Usage
from tests.job_records import a_job

CLIENTS = ["", "alice", "alice:1", "2001:db8::1", "ключ % ' \" \\"]


def a_life(chance: random.Random) -> Iterator[dict[str, Job | None]]:
    """Yield batches of changes as a tracker makes them: jobs enter, run, end, lose files, and are deleted."""
    jobs: dict[str, Job] = {}
    for sequence in range(80):
        client = chance.choice(CLIENTS)
        key = IdempotencyKey(chance.choice(["a", "b:c"]), "x") if chance.random() < 0.5 else None
        jobs[f"job-{sequence}"] = a_job(
            sequence, client=client, idempotency=key, uploaded_bytes=chance.choice([0, 5])
        )
        changes: dict[str, Job | None] = {f"job-{sequence}": jobs[f"job-{sequence}"]}
        for job_id in chance.sample(sorted(jobs), min(len(jobs), 4)):
            changes[job_id] = changed = a_later_job(chance, jobs[job_id], float(sequence))
            if changed is None:
                del jobs[job_id]
            else:
                jobs[job_id] = changed
        yield changes


def a_later_job(chance: random.Random, job: Job, now: float) -> Job | None:
    if job.state is JobState.QUEUED:
        return job.with_(state=JobState.RUNNING, started_at=now, lease_token="token", attempt=job.attempt + 1)
    if job.state is JobState.RUNNING:
        end = {
            "finished_at": now + job.place.sequence / 1000,
            "files": ("file",),
            "file_bytes": 9,
            "tidy_at": now,
            "keep_until": now + chance.randrange(40) if chance.random() < 0.5 else None,
        }
        share = Counted(f"2026-11-{chance.randrange(10, 13)}", Usage(*(chance.randrange(9) for _ in AMOUNTS)))
        ended = {**end, "counted": share} if chance.random() < 0.9 else {}
        return job.with_(state=chance.choice(list(JobState)), **ended)
    if not job.is_settled:
        return job.with_(tidy_at=None, uploaded_bytes=0)
    return job.with_(files=(), file_bytes=0) if job.files else None


def answers(store: JobStore) -> dict[str, object]:
    """Return the answers of every method."""
    everybody = [None, *CLIENTS, "nobody"]
    states = [None, *JobState]
    return {
        "get": [store.get(f"job-{n}") for n in range(80)],
        "open": list(store.unsettled_jobs()),
        "next": store.next_sequence(),
        "counts": store.counts(),
        "bytes": store.stored_bytes(),
        "find": [store.find(client, key) for client in CLIENTS for key in ["a", "b:c", "c"]],
        "page": [store.page(client, state, 60, 7) for client in everybody for state in states],
        "ended": [store.ended(before, files, 9) for before in (20.5, 1e9) for files in (True, False)],
        "kept": [store.kept_until(before, 9) for before in (20.5, 1e9)],
        "usage": [
            store.usage(client, "2026-11-10", last) for client in everybody for last in ("2026-11-11", "3")
        ],
        "unknown": store.unknown([f"job-{n}" for n in range(90)]),
    }


def test_every_answer_is_that_of_the_store_in_memory(location: str) -> None:
    reference = MemoryJobStore()
    with closing(open_store(location)) as store:
        for number, changes in enumerate(a_life(random.Random(5))):
            reference.write(changes)
            store.write(changes)
            if number % 20 == 19:
                assert answers(store) == answers(reference)
    with closing(open_store(location)) as store:
        assert answers(store) == answers(reference)
