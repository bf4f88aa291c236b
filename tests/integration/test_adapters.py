"""Adapters through the real graph: requests, results, and songs that keep to their own."""

import io
from typing import Any

import numpy as np
import soundfile

from tests.live_server import Client

SONG: dict[str, Any] = {
    "caption": "a folk song",
    "bpm": 100,
    "key_scale": "C Major",
    "time_signature": "4/4",
    "audio_duration": 3,
    "use_random_seed": False,
    "seed": 7,
    "batch_size": 1,
    "audio_format": "wav32",
}
QUIET = 1e-3
"""A difference of samples that rounding does not make beside other songs, and adapters do."""


def samples_of(server: Client, result: dict[str, Any]) -> np.ndarray:
    samples, _ = soundfile.read(io.BytesIO(server.audio(result["first_audio_path"])))
    return samples


def test_songs_with_different_adapters_at_once_are_like_alone(server: Client) -> None:
    asked: list[dict[str, Any]] = [
        {},
        {"adapters": [{"name": "folk"}]},
        {"adapters": [{"name": "jazz", "scale": 0.5}]},
        {"adapters": [{"name": "folk"}, {"name": "jazz", "scale": -1}]},
    ]
    together = [server.submit(**SONG, **fields) for fields in asked]
    songs = []
    for job_id, fields in zip(together, asked, strict=True):
        result = server.wait(job_id)["result"]
        alone = server.make(**SONG, **fields)
        used = [(each["name"], each["scale"]) for each in result["adapters"]]
        assert used == [(each["name"], each.get("scale", 1)) for each in fields.get("adapters", [])]
        assert result["adapters"] == alone["adapters"]
        songs.append(samples_of(server, result))
        assert np.abs(songs[-1] - samples_of(server, alone)).max() < QUIET
    for index, song in enumerate(songs):
        assert all(np.abs(song - other).max() > QUIET for other in songs[:index])


def test_a_result_says_what_was_used(server: Client) -> None:
    result = server.make(**SONG, lora_name="folk", lora_scale=0.25)
    (used,) = result["adapters"]
    assert (used["name"], used["scale"], len(used["sha256"])) == ("folk", 0.25, 64)
    assert f"Adapters: folk × 0.25 ({used['sha256'][:8]})" in result["generation_info"]


def test_the_server_lists_its_adapters_and_refuses_others(server: Client) -> None:
    models = server.http.get("/v1/models").json()
    assert [(each["name"], each["models"]) for each in models["adapters"]] == [
        (name, [models["default_model"]]) for name in ("folk", "jazz")
    ]
    answer = server.http.post("/v1/music/generate", json={**SONG, "adapters": ["blues"]})
    assert answer.status_code == 422
    assert "no adapter 'blues', only folk, jazz" in answer.text


def test_a_task_of_the_ace_step_api_uses_the_callers_adapter(server: Client) -> None:
    loaded = server.http.post("/v1/lora/load", json={"lora_path": "jazz"}).json()
    assert loaded["code"] == 200
    try:
        task = server.http.post("/release_task", json={"prompt": "jazz", "audio_duration": 3}).json()["data"]
        (used,) = server.wait(task["task_id"])["result"]["adapters"]
        assert used["name"] == "jazz"
    finally:
        server.http.post("/v1/lora/unload")
