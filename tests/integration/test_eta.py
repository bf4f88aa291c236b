"""`eta_seconds` of the running server, against the clock."""

import random
import time

import httpx

from tests.live_server import Client

GOAL = 0.8
OUTSTANDING, WARM_UP, JOBS = 8, 8, 28
POLL_SECONDS = 0.5
TRIES = 3
"""Other work on the machine may spoil a try; a forecast that is a third too low or too high fails in all."""


def mixed_job(rng: random.Random) -> dict[str, object]:
    """Songs of 10 to 40 s, one or two at once, half of them with audio codes.

    Long enough that a job takes some seconds: the tracker hears once a second how far it is.
    """
    return {
        "caption": "a tune",
        "audio_duration": round(rng.uniform(10, 40), 1),
        "batch_size": rng.choice((1, 2)),
        "thinking": rng.random() < 0.5,
        "audio_format": "wav",
        "bpm": 100,
        "key_scale": "C Major",
        "time_signature": rng.choice(("4/4", "")),
    }


def told_over_true(server: Client, rng: random.Random) -> list[float]:
    """`eta_seconds` of each poll of a waiting job over the seconds it took; the line stays as long as it is.

    The first jobs only tell how fast this machine is.
    """
    open_jobs: list[str] = []
    polls: list[tuple[str, float, float]] = []
    finished_at: dict[str, float] = {}
    submitted = 0
    while submitted < JOBS or open_jobs:
        while submitted < JOBS and len(open_jobs) < OUTSTANDING:
            open_jobs.append(server.submit(**mixed_job(rng)))
            submitted += 1
        for job_id in list(open_jobs):
            at = time.time()
            answer = server.http.get(f"/v1/jobs/{job_id}")
            assert answer.status_code == httpx.codes.OK
            job = answer.json()
            if job["status"] == "queued":
                polls.append((job_id, at, job["eta_seconds"]))
            elif job["status"] != "running":
                assert job["status"] == "succeeded", job["error"]
                finished_at[job_id] = job["finished_at"]
                open_jobs.remove(job_id)
        time.sleep(POLL_SECONDS)
    steady_since = sorted(finished_at.values())[WARM_UP - 1]
    return [eta / (finished_at[job_id] - at) for job_id, at, eta in polls if at > steady_since]


def test_waiting_jobs_are_told_when_they_end(server: Client) -> None:
    """Within 30 % of the truth for 80 % of all polls."""
    rng = random.Random(5)
    shares: list[float] = []
    while len(shares) < TRIES and max(shares, default=0.0) < GOAL:
        ratios = told_over_true(server, rng)
        assert len(ratios) > 50
        shares.append(sum(0.7 <= ratio <= 1.3 for ratio in ratios) / len(ratios))
        middle = sorted(ratios)[len(ratios) // 2]
        print(
            f"eta_seconds within 30 % for {shares[-1]:.0%} of {len(ratios)} polls; "
            f"eta / truth {middle:.2f} (median)"
        )
    assert max(shares) >= GOAL, shares
