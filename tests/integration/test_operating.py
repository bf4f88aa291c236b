"""An operator at the real server: commands run in processes of their own, over Ray."""

import json
import time
from collections.abc import Iterator

import pytest

from serve_app.api.silence import SILENCE_SECONDS
from tests.live_server import Client

SONG = {"audio_duration": 2, "batch_size": 1, "bpm": 100, "key_scale": "C", "time_signature": "4/4"}


@pytest.fixture
def operated(server: Client) -> Iterator[Client]:
    """Return the server. Afterwards it accepts and begins jobs again, whatever the test did."""
    yield server
    if server.http.get("/v1/stats").json()["mode"] != "open":
        assert server.admin("resume").returncode == 0


def test_jobs_of_a_paused_server_are_listed_cancelled_run_and_purged(operated: Client) -> None:
    paused = operated.admin("pause", "--wait", "--timeout", "2m")
    assert (paused.returncode, paused.stderr) == (0, "")
    cancelled, first, second = (operated.submit(caption="a secret wish", **SONG) for _ in range(3))
    listed = operated.admin("list", "--state", "queued", "--json")
    assert "wish" not in listed.stdout
    jobs = json.loads(listed.stdout)
    assert [(job["job_id"], job["queue_position"]) for job in jobs[-3:]] == [
        (cancelled, len(jobs) - 2),
        (first, len(jobs) - 1),
        (second, len(jobs)),
    ]
    assert operated.admin("cancel", cancelled).stdout == f"{cancelled}: cancelled\n"
    assert operated.http.get(f"/v1/jobs/{cancelled}").json()["status"] == "cancelled"
    requeued = operated.admin("requeue", cancelled, first)
    assert (requeued.returncode, requeued.stdout) == (1, f"{first}: queued\n")
    assert "must be submitted again" in requeued.stderr
    assert operated.http.get(f"/v1/jobs/{first}").json()["queue_position"] == len(jobs) - 2
    assert operated.admin("resume").returncode == 0
    songs = [operated.wait(job_id) for job_id in (first, second)]
    assert [song["status"] for song in songs] == ["succeeded", "succeeded"]
    (path,) = songs[0]["result"]["audio_paths"]
    assert len(operated.audio(path)) > 1000
    deadline = time.monotonic() + 60
    while "is still being deleted" in (purged := operated.admin("purge", first, "--yes")).stderr:
        assert time.monotonic() < deadline
        time.sleep(2)
    assert (purged.returncode, purged.stderr) == (0, "")
    assert operated.http.get(f"/v1/jobs/{first}").status_code == 404
    assert operated.http.get(path).status_code == 404
    assert operated.http.get(f"/v1/jobs/{second}").status_code == 200


@pytest.mark.slow
def test_the_stream_of_a_job_that_waits_has_one_comment_each_half_minute(operated: Client) -> None:
    """The edge sends them, and the application, which is told so, sends none."""
    assert operated.admin("pause").returncode == 0
    job_id = operated.submit(**SONG)
    came: list[float] = []
    with operated.http.stream("GET", f"/v1/jobs/{job_id}/events", timeout=3 * SILENCE_SECONDS) as answer:
        for line in answer.iter_lines():
            if line.startswith(":"):
                came.append(time.monotonic())
            if len(came) == 2:
                break
    assert came[1] - came[0] > SILENCE_SECONDS / 2
    assert operated.http.delete(f"/v1/jobs/{job_id}").json()["status"] == "cancelled"


@pytest.mark.slow
def test_a_drained_server_finishes_its_jobs_and_takes_no_others(operated: Client) -> None:
    job_id = operated.submit(**SONG)
    drained = operated.admin("drain", "--wait", "--timeout", "2m")
    assert drained.returncode == 0, drained.stderr
    assert drained.stdout.splitlines()[-1] == "draining: 0 waiting, 0 running"
    job = operated.http.get(f"/v1/jobs/{job_id}").json()
    assert job["status"] == "succeeded"
    assert operated.audio(job["result"]["audio_paths"][0])
    answer = operated.http.post("/v1/music/generate", json=SONG)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
    ready = operated.http.get("/ready")
    assert (ready.status_code, ready.json()["mode"]) == (200, "draining")
    assert set(ready.json()["parts"]) == {"JobTracker", "LanguageModel", "Generator", "Codec"}
    assert operated.admin("resume", "--json").returncode == 0
    operated.make(**SONG)


def test_the_tracker_of_a_running_application_is_not_stopped(operated: Client) -> None:
    refused = operated.admin("stop-tracker")
    assert refused.returncode == 1
    assert "is RUNNING and uses it" in refused.stderr
