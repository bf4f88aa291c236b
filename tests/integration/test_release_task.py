"""The ACE-Step API over real HTTP: songs, analyses, chat, and clients that leave."""

import base64
import io
import json
import time
from typing import Any

import httpx
import pytest
import soundfile

from serve_app.api.release_task.rows import FAILED, SUCCEEDED, UNFINISHED
from tests.encoded_audio import music, sound_file
from tests.integration.test_departures import connection, headers
from tests.live_server import JOB_TIMEOUT_SECONDS, Client

SHORT = {"audio_duration": 1, "batch_size": 1}
LONG = {"audio_duration": 240, "batch_size": 8}


def release(server: Client, fields: dict[str, Any] | None = None, **options: Any) -> str:
    answer = server.http.post("/release_task", **(options or {"json": fields}))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"]["task_id"])


def rows(server: Client, *ids: str) -> list[dict[str, Any]]:
    answer = server.http.post("/query_result", json={"task_id_list": json.dumps(ids)})
    return list(answer.raise_for_status().json()["data"])


def finished(server: Client, task_id: str) -> list[dict[str, Any]]:
    """The objects of a task that must succeed. Its progress never falls."""
    deadline, progress = time.monotonic() + JOB_TIMEOUT_SECONDS, 0.0
    while True:
        (row,) = rows(server, task_id)
        items = json.loads(row["result"])
        assert row["status"] in {UNFINISHED, SUCCEEDED}, row
        assert items[0]["progress"] >= progress
        progress = items[0]["progress"]
        if row["status"] == SUCCEEDED:
            return list(items)
        assert time.monotonic() < deadline, row
        time.sleep(0.05)


def seconds_of(content: bytes) -> float:
    samples, rate = soundfile.read(io.BytesIO(content))
    return len(samples) / rate


def test_songs_of_a_task(server: Client) -> None:
    fields = {
        "prompt": "a sad song",
        "lyrics": "la la",
        "bpm": "90",
        "audio_duration": 1.5,
        "audio_format": "wav",
    }
    task_id = release(server, {**fields, "batch_size": 2, "use_random_seed": False, "seed": "7,8"})
    items = finished(server, task_id)
    assert [item["seed_value"] for item in items] == ["7", "8"]
    for item in items:
        assert item["file"].startswith("/v1/audio?path=/tmp/")
        assert seconds_of(server.http.get(item["file"]).raise_for_status().content) == pytest.approx(1.5)
        assert (item["metas"]["bpm"], item["metas"]["prompt"], item["metas"]["lyrics"]) == (
            90,
            "a sad song",
            "la la",
        )
        assert item["metas"]["duration"] == 1.5
        assert "N/A" not in json.dumps(item)
    job = server.http.get(f"/v1/jobs/{task_id}").json()
    assert job["status"] == "succeeded"
    assert len(job["result"]["audio_paths"]) == 2


def test_values_that_cannot_be_run_as_they_are(server: Client) -> None:
    wrong = {
        "prompt": "a song", "bpm": 9_999, "language": "Klingon", "model": "acestep-v99", "lm_backend": "mlx",
        "seed": "many", "inference_steps": 0, "key": "x" * 50, "dcw_mode": "all", "metas": "{",
    }  # fmt: skip
    (item,) = finished(server, release(server, {**wrong, **SHORT}))
    for name in (
        "bpm",
        "vocal_language",
        "model",
        "lm_backend",
        "inference_steps",
        "key_scale",
        "dcw_mode",
    ):
        assert name in item["generation_info"], name
    assert item["dit_model"] == "acestep-v15-turbo"


def test_a_form_with_a_silent_source_as_the_daw_sends_it(server: Client) -> None:
    silence = sound_file(music(0.1) * 0, "WAV", "PCM_16")
    fields = {"prompt": "a song", "thinking": "false", "param_obj": '{"batch_size": 1}', "duration": "1"}
    files = {"src_audio": ("blob", silence, "application/octet-stream")}
    (item,) = finished(server, release(server, data=fields, files=files))
    assert item["metas"]["duration"] == 1.0
    repaint = {"task_type": "repaint", "repainting_start": "0", "repainting_end": "1", "batch_size": "1"}
    (item,) = finished(server, release(server, data=repaint, files=files))
    assert item["file"]


def test_a_song_is_the_source_of_the_next(server: Client) -> None:
    (song,) = finished(server, release(server, {"prompt": "a song", **SHORT}))
    value = song["file"].partition("?path=")[2]
    for path in (value, f"{server.http.base_url}{song['file']}"):
        cover = {"prompt": "another", "task_type": "cover", "src_audio_path": path, **SHORT}
        (item,) = finished(server, release(server, cover))
        assert item["metas"]["duration"] == 1.0


@pytest.mark.parametrize(
    "fields",
    [
        {"sample_mode": True},
        {"sample_query": "a quiet instrumental song"},
        {"use_format": True, "prompt": "a song", "lyrics": "la la"},
        pytest.param({"thinking": True, "prompt": "a song"}, marks=pytest.mark.slow),
        {"prompt": "a song", "audio_codes": "<|audio_code_1|><|audio_code_2|>"},
    ],
)
def test_ways_to_a_song(server: Client, fields: dict[str, Any]) -> None:
    (item,) = finished(server, release(server, {**fields, **SHORT}))
    assert seconds_of(server.http.get(item["file"]).content) > 0.5
    assert item["prompt"] or fields == {"sample_mode": True}
    if "sample_query" in fields:
        assert item["metas"]["prompt"] == ""


@pytest.mark.parametrize("flag", ["extract_codes_only", "full_analysis_only", "analysis_only"])
def test_analyses(server: Client, flag: str) -> None:
    if flag == "analysis_only":
        task_id = release(server, {flag: True, "prompt": "a song"})
    else:
        files = {"ctx_audio": ("a.wav", sound_file(music(2.0), "WAV", "PCM_16"))}
        task_id = release(server, data={flag: "true"}, files=files)
    (item,) = finished(server, task_id)
    assert (item["file"], item["status"]) == ("", SUCCEEDED)
    assert item["status_message"].endswith("Success")
    assert bool(item["audio_codes"]) == (flag != "analysis_only")
    if flag == "full_analysis_only":
        assert item["duration"] == pytest.approx(2.0)


def test_ideas_of_the_language_model(server: Client) -> None:
    given = {"bpm": 90, "key": "D minor", "time_signature": "3/4", "duration": 20, "language": "de"}
    asked = {"prompt": "a song", "lyrics": "la la", "param_obj": json.dumps(given)}
    data = server.http.post("/format_input", json=asked).raise_for_status().json()["data"]
    assert set(data) == {
        "caption", "lyrics", "bpm", "key_scale", "time_signature", "duration", "vocal_language",
    }  # fmt: skip
    assert (data["bpm"], data["key_scale"], data["time_signature"]) == (90, "D minor", "3/4")
    assert (data["duration"], data["vocal_language"]) == (20, "de")
    data = server.http.post("/v1/create_sample", json={"query": "a quiet song", "instrumental": True}).json()[
        "data"
    ]
    assert set(data) == {
        "caption", "lyrics", "bpm", "keyscale", "duration", "timesignature", "vocal_language",
    }  # fmt: skip
    assert data["caption"]
    assert isinstance(data["bpm"], int)


def test_a_chat_plain_and_streamed(server: Client) -> None:
    body = {
        "messages": [{"role": "user", "content": "<prompt>a song</prompt>"}],
        "audio_config": {"duration": 1},
    }
    answer = server.http.post("/v1/chat/completions", json=body).raise_for_status().json()
    (part,) = answer["choices"][0]["message"]["audio"]
    kind, _, data = part["audio_url"]["url"].partition(",")
    assert kind == "data:audio/mpeg;base64"
    assert seconds_of(base64.b64decode(data)) == pytest.approx(1.0, abs=0.1)
    with server.http.stream("POST", "/api/v1/chat/completions", json={**body, "stream": True}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in stream.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert sum("audio" in chunk["choices"][0]["delta"] for chunk in chunks) == 1
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("streams", [True, False])
def test_a_chat_whose_client_leaves_frees_the_engines(server: Client, streams: bool) -> None:
    before = {job["job_id"] for job in server.http.get("/v1/jobs").json()["jobs"]}
    message = {"role": "user", "content": "a long song"}
    body = json.dumps({"messages": [message], "stream": streams, **LONG})
    start = "POST /v1/chat/completions HTTP/1.1"
    head = headers(
        server.http, start, **{"Content-Type": "application/json", "Content-Length": str(len(body))}
    )
    with connection(server.http) as client:
        client.sendall(head + body.encode())
        job_id = _new_job(server, before)
        _wait_for(server, job_id, {"running"})
    assert _wait_for(server, job_id, {"cancelled"})["progress"] < 1
    # The engines are free: another song passes at once.
    server.make(audio_duration=1, batch_size=1)


def _new_job(server: Client, before: set[str]) -> str:
    deadline = time.monotonic() + 60
    while True:
        jobs = server.http.get("/v1/jobs").json()["jobs"]
        if new := {job["job_id"] for job in jobs} - before:
            (job_id,) = new
            return str(job_id)
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _wait_for(server: Client, job_id: str, statuses: set[str]) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        job: dict[str, Any] = server.http.get(f"/v1/jobs/{job_id}").json()
        if job["status"] in statuses:
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.05)


def test_cancelling_a_task(server: Client) -> None:
    task_id = release(server, {"prompt": "a long song", **LONG})
    assert server.http.post("/cancel_task", json={"task_id": task_id}).status_code == 200
    (row,) = rows(server, task_id)
    assert (row["status"], row["error"]) == (FAILED, "The task was cancelled")


def test_no_answer_redirects_and_all_doors_lead_to_the_same_routes(server: Client) -> None:
    for path in (
        "/health",
        "/api/health",
        "/health/",
        "/v1/model_inventory",
        "/api/v1/models/",
        "/v1/lora/status",
    ):
        assert server.http.get(path).status_code == httpx.codes.OK
    answer = server.http.get("/v1/audio", params={"path": "/etc/passwd"})
    assert (answer.status_code, answer.json()["error"]) == (404, "Audio file not found")


def test_the_log_says_when_the_server_can_serve(server: Client) -> None:
    told = "".join(log.read_text(errors="replace") for log in server.logs)
    assert "Application startup complete" in told
    assert f"Uvicorn running on http://{server.http.base_url.host}:{server.http.base_url.port}" in told
