"""Two DiTs in one application, a turbo and a base one: each request is made by the one that it names."""

import httpx
import pytest

from tests.live_server import GuardedServer
from tests.tiny_dits import BASE, TURBO

GIVEN = {"audio_duration": 2, "batch_size": 1, "bpm": 100, "key_scale": "C", "time_signature": "4/4"}


def refusal(answer: httpx.Response) -> str:
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["detail"]
    return f"{error['loc'][-1]}: {error['msg']}"


def test_the_server_lists_both(guarded: GuardedServer) -> None:
    told = guarded.alice.http.get("/v1/models").raise_for_status().json()
    assert [(dit["name"], dit["is_default"]) for dit in told["models"]] == [(TURBO, True), (BASE, False)]
    replicas = guarded.alice.http.get("/v1/stats").raise_for_status().json()["replicas"]
    assert (replicas["Generator"], replicas[f"Generator-{BASE}"]) == (1, 1)


def test_the_same_request_is_another_song_on_the_other_dit(guarded: GuardedServer) -> None:
    alike = {**GIVEN, "use_random_seed": False, "seed": 7, "audio_format": "wav"}
    default, turbo, base = (
        guarded.alice.make(**alike, **named) for named in ({}, {"model": TURBO}, {"model": BASE})
    )
    assert (default["dit_model"], turbo["dit_model"], base["dit_model"]) == (TURBO, TURBO, BASE)
    songs = [guarded.alice.audio(result["first_audio_path"]) for result in (default, turbo, base)]
    assert songs[0] == songs[1] != songs[2]


@pytest.mark.parametrize("task", ["lego", "extract", "complete"])
def test_a_task_that_only_base_can_do_is_refused_for_turbo(guarded: GuardedServer, task: str) -> None:
    path = guarded.alice.make(**GIVEN)["first_audio_path"]
    asked = {"task_type": task, "src_audio_path": path, "batch_size": 1, "bpm": 100, "key_scale": "C"}
    for named in ({}, {"model": TURBO}):
        answer = guarded.alice.http.post("/v1/music/generate", json=asked | named)
        assert f"{TURBO} can do no other task, but {BASE} can" in refusal(answer)
    assert guarded.alice.make(**asked, model=BASE)["dit_model"] == BASE


def test_a_model_that_is_not_served_is_refused_with_those_that_are(guarded: GuardedServer) -> None:
    answer = guarded.alice.http.post("/v1/music/generate", json={"model": "acestep-v15-sft"})
    assert refusal(answer).startswith("model:")
    assert f"{TURBO}, {BASE}" in refusal(answer)
