"""`eta_seconds` of the running server, compared with a forecast that only counts the jobs ahead."""

import math
import random
import statistics
import time
from dataclasses import dataclass

import httpx
import pytest

from tests.live_server import Client

pytestmark = pytest.mark.slow

OUTSTANDING, WARM_UP, JOBS = 8, 8, 32
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Poll:
    """The answer to one poll of a waiting job, and a forecast that only counts jobs."""

    job_id: str
    at: float
    eta: float
    counted: float
    """Mean seconds between two results so far, times the number of results up to this job's own."""


def mixed_job(rng: random.Random) -> dict[str, object]:
    """Return a request for one or two songs of 5 to 60 s. Half of the requests write audio codes."""
    return {
        "caption": "a tune",
        "audio_duration": round(rng.choice((5, 10, 30, 60)) * rng.uniform(0.9, 1.0), 1),
        "batch_size": rng.choice((1, 2)),
        "thinking": rng.random() < 0.5,
        "audio_format": "wav",
        "bpm": 100,
        "key_scale": "C Major",
        "time_signature": "4/4",
    }


def polls_of(server: Client, rng: random.Random) -> tuple[list[Poll], dict[str, float]]:
    """Return every poll of a waiting job after some jobs have ended, and when each job ended."""
    open_jobs: list[str] = []
    polls: list[Poll] = []
    finished_at: dict[str, float] = {}
    began, submitted = time.time(), 0
    while submitted < JOBS or open_jobs:
        while submitted < JOBS and len(open_jobs) < OUTSTANDING:
            open_jobs.append(server.submit(**mixed_job(rng)))
            submitted += 1
        for ahead, job_id in enumerate(list(open_jobs)):
            at = time.time()
            answer = server.http.get(f"/v1/jobs/{job_id}")
            assert answer.status_code == httpx.codes.OK
            job = answer.json()
            if job["status"] == "queued" and len(finished_at) >= WARM_UP:
                counted = (at - began) / len(finished_at) * (ahead + 1)
                polls.append(Poll(job_id, at, job["eta_seconds"], counted))
            elif job["status"] not in {"queued", "running"}:
                assert job["status"] == "succeeded", job["error"]
                finished_at[job_id] = job["finished_at"]
                open_jobs.remove(job_id)
        time.sleep(POLL_SECONDS)
    return polls, finished_at


def error(forecast: float, truth: float) -> float:
    """Return the factor by which a forecast is too long or too short, as a logarithm."""
    return abs(math.log(max(forecast, 0.1) / max(truth, 0.1)))


def test_waiting_jobs_are_told_when_they_end_better_than_by_counting(server: Client) -> None:
    """Both forecasts are of the same polls, so the load of the machine affects both."""
    polls, finished_at = polls_of(server, random.Random(5))
    assert len(polls) > 50
    told = statistics.median(error(poll.eta, finished_at[poll.job_id] - poll.at) for poll in polls)
    counted = statistics.median(error(poll.counted, finished_at[poll.job_id] - poll.at) for poll in polls)
    print(f"{len(polls)} polls: off by {math.exp(told):.2f} times, by counting {math.exp(counted):.2f} times")
    assert told < counted
