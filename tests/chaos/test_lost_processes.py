"""kill -9 in the middle: a lost process costs a retry, never a job."""

import time

import psutil
import pytest

from tests.live_server import Client

FIELDS = {"bpm": 100, "key_scale": "C", "time_signature": "4/4", "batch_size": 1, "audio_format": "wav"}


def process_named(server: Client, name: str) -> psutil.Process:
    for process in psutil.Process(server.pid).children(recursive=True):
        if name in " ".join(process.cmdline()):
            return process
    raise AssertionError(f"no process {name} is running")


def replica_of(server: Client, deployment: str) -> psutil.Process:
    return process_named(server, f"ServeReplica:acestep:{deployment}")


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


def test_a_job_survives_the_loss_of_the_engine_that_writes_its_codes(server: Client) -> None:
    thinking = {"thinking": True, "use_random_seed": False, "seed": 5, "audio_duration": 200, **FIELDS}
    job_id = server.submit(**thinking)
    while server.http.get(f"/v1/jobs/{job_id}", params={"wait": 1}).json()["stage"] != "composing":
        time.sleep(0.01)
    process_named(server, "VLLM::EngineCore").kill()
    job = server.wait(job_id)
    assert job["status"] == "succeeded", job["error"]
    assert job["result"]["audio_codes"][0].count("<|audio_code_") == 1000
    server.wait_until_ready()
    assert server.make(**thinking)["audio_codes"] == job["result"]["audio_codes"]
