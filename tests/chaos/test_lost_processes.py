"""kill -9 in the middle: a lost process costs a retry, never a job."""

import time

import psutil
import pytest

from tests.live_server import Client

FIELDS = {"bpm": 100, "key_scale": "C", "time_signature": "4/4", "batch_size": 1, "audio_format": "wav"}


def replica_of(server: Client, deployment: str) -> psutil.Process:
    for process in psutil.Process(server.pid).children(recursive=True):
        if f"ServeReplica:acestep:{deployment}" in " ".join(process.cmdline()):
            return process
    raise AssertionError(f"no replica of {deployment} is running")


@pytest.mark.parametrize("deployment", ["Generator", "Codec", "Ingress"])
def test_a_job_survives_the_loss_of_a_replica(server: Client, deployment: str) -> None:
    victim = replica_of(server, deployment)
    seeded = {"use_random_seed": False, "seed": 5, "audio_duration": 30, **FIELDS}
    job_id = server.submit(**seeded)
    while server.http.get(f"/v1/jobs/{job_id}", params={"wait": 1}).json()["stage"] in {"queued", "planning"}:
        time.sleep(0.01)
    victim.kill()
    server.wait_until_ready()
    job = server.wait(job_id)
    assert job["status"] == "succeeded", job["error"]
    again = server.make(**seeded)
    assert server.audio(job["result"]["first_audio_path"]) == server.audio(again["first_audio_path"])


def test_metadata_falls_back_while_the_language_model_is_down(server: Client) -> None:
    replica_of(server, "LanguageModel").kill()
    time.sleep(1)
    result = server.make(caption="slow", bpm=72, batch_size=1)
    assert result["bpm"] == 72
    server.wait_until_ready()
    assert server.make(caption="slow", bpm=72, batch_size=1)["keyscale"]
