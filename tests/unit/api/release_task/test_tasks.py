"""`/release_task`, `/query_result`, `/cancel_task`: answers, rows of each state, and both families."""

import json
from typing import Any

import httpx
import pytest

from serve_app.api.release_task.rows import UNKNOWN_TASK
from serve_app.api.release_task.tasks import MAX_IDS
from serve_app.jobs.mode import Mode
from serve_app.jobs.model import Steps
from tests.unit.api.conftest import LocalJobService, wav_bytes
from tests.unit.api.release_task.conftest import Finish, Submit, query

ITEM_KEYS = {
    "file", "wave", "status", "create_time", "env", "prompt", "lyrics", "metas", "progress", "stage", "error",
}  # fmt: skip
ROW_KEYS = {"task_id", "status", "result", "progress_text", "error", "queue_position", "eta_seconds"}


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share one application."""
    return shared_http


async def test_the_answer_to_a_submit(http: httpx.AsyncClient, service: LocalJobService) -> None:
    for position in (1, 2):
        answer = await http.post("/release_task", json={"prompt": "a song"})
        body = answer.json()
        assert (answer.status_code, body["code"], body["error"], body["extra"]) == (200, 200, None, None)
        assert isinstance(body["timestamp"], int)
        assert body["data"] == {
            "task_id": service.jobs[-1].job_id,
            "status": "queued",
            "queue_position": position,
        }


async def test_a_waiting_and_a_running_task(
    http: httpx.AsyncClient, service: LocalJobService, submit: Submit
) -> None:
    await submit({})
    await submit({"prompt": "a secret"})
    first, second = (job.job_id for job in service.jobs)
    (row,) = await query(http, second)
    assert set(row) - {"items"} == ROW_KEYS
    assert (row["status"], row["error"], row["queue_position"]) == (0, None, 2)
    assert row["eta_seconds"] > 0
    assert row["progress_text"] == "Waiting, position 2"
    (item,) = row["items"]
    assert set(item) == ITEM_KEYS
    assert isinstance(item.pop("create_time"), int)
    assert item == {
        "file": "", "wave": "", "status": 0, "env": "development", "prompt": "", "lyrics": "", "metas": {},
        "progress": 0.0, "stage": "queued", "error": None,
    }  # fmt: skip
    claim = service.claim()
    service.tracker.heartbeat(first, claim.token, "denoising", 0.5)
    (row,) = await query(http, first)
    assert (row["status"], row["queue_position"]) == (0, 0)
    assert row["progress_text"] == "Denoising, 50% of the task done"
    assert (row["items"][0]["stage"], row["items"][0]["progress"]) == ("denoising", 0.5)
    for done, text in ((0, "step 1 of 8"), (3, "step 4 of 8"), (8, "step 8 of 8")):
        service.tracker.heartbeat(first, claim.token, "denoising", 0.5, Steps(done, 8))
        (row,) = await query(http, first)
        assert row["progress_text"] == f"Denoising, {text}"
    service.tracker.heartbeat(first, claim.token, "decoding", 0.8, Steps(1, 3))
    (row,) = await query(http, first)
    assert row["progress_text"] == "Decoding, 80% of the task done"


async def test_a_finished_task(http: httpx.AsyncClient, submit: Submit, finish: Finish) -> None:
    await submit({"prompt": "a sad song", "bpm": 500, "batch_size": 2})
    job_id = finish(songs=2, audio_codes=["<|audio_code_1|>", None])
    (row,) = await query(http, job_id)
    assert (row["status"], row["error"], row["progress_text"]) == (1, None, "Done")
    assert row["extra_outputs"] == {"time_costs": {"planning_time_cost": 0.5, "denoising_time_cost": 1.5}}
    assert len(row["items"]) == 2
    for index, item in enumerate(row["items"]):
        assert set(item) > ITEM_KEYS
        assert item["file"] == f"/v1/audio?path=/tmp/acestep-serve/{job_id}/{index}.mp3"
        assert (item["status"], item["progress"], item["stage"]) == (1, 1.0, "succeeded")
        assert (item["prompt"], item["lyrics"]) == ("a sad song of the LM", "[Verse]\nThe LM sings")
        assert item["metas"] == {
            "bpm": 72, "duration": 10.0, "genres": "", "keyscale": "C Major", "timesignature": "",
            "prompt": "a sad song", "lyrics": "", "caption": "a sad song of the LM", "language": "en",
        }  # fmt: skip
        assert (item["seed_value"], item["index"]) == (str(7 + index), index)
        assert (item["lm_model"], item["dit_model"]) == ("", "acestep-v15-turbo")
        assert item["generation_info"] == "Steps: 8, Scale: 7.0; bpm '500' became 300."
    assert [item["audio_codes"] for item in row["items"]] == ["<|audio_code_1|>", ""]


async def test_a_song_whose_lyrics_are_timed_has_lrc_and_other_songs_have_no_such_key(
    http: httpx.AsyncClient, submit: Submit, finish: Finish
) -> None:
    await submit({"lyrics": "La", "lyric_timestamps": True})
    timed = {"lrc": "[00:00.50]La", "lines": [], "tokens": [], "score": 0.5, "condition_score": 0.25}
    (row,) = await query(http, finish(songs=2, lyric_timestamps=[timed, None]))
    assert [item.get("lrc") for item in row["items"]] == ["[00:00.50]La", None]
    assert "lrc" not in row["items"][1]


ANALYSES = [
    ("codes", "Audio Codes Extraction Success"),
    ("description", "Full Hardware Analysis Success"),
    ("metadata", "Success"),
]


@pytest.mark.parametrize(("made", "message"), ANALYSES)
async def test_a_finished_analysis(
    http: httpx.AsyncClient, submit: Submit, finish: Finish, made: str, message: str
) -> None:
    await submit({"analysis_only": True})
    status = "✅ Analysis completed successfully! The language model could not hear."
    codes = [None] if made == "metadata" else ["<|audio_code_9|>"]
    job_id = finish(songs=0, metas={"output": made}, status_message=status, audio_codes=codes, genres="folk")
    (row,) = await query(http, job_id)
    (item,) = row["items"]
    assert (row["status"], item["file"], item["status_message"]) == (1, "", message)
    assert (item["seed_value"], item["index"]) == ("7", 0)
    assert item["generation_info"].endswith("The language model could not hear.")
    described = {"genres": "folk", "genre": "folk", "caption": "a sad song of the LM", "bpm": 72}
    if made != "codes":
        assert described.items() <= item["metas"].items()
        assert item["metas"]["lyrics"] == "[Verse]\nThe LM sings"
    if made != "metadata":
        assert item["audio_codes"] == "<|audio_code_9|>"
    if made == "description":
        keys = ("bpm", "keyscale", "timesignature", "duration", "genre", "language")
        assert [item[key] for key in keys] == [72, "C Major", "", 10.0, "folk", "en"]


async def test_a_failed_a_cancelled_and_an_unknown_task(
    http: httpx.AsyncClient, service: LocalJobService, submit: Submit
) -> None:
    await submit({})
    await submit({})
    claim = service.claim()
    failed, cancelled = (job.job_id for job in service.jobs)
    service.tracker.fail(failed, claim.token, "The sound was silent.", retryable=False)
    service.tracker.cancel(cancelled)
    rows = await query(http, failed, cancelled, "nobody")
    sentences = ["The sound was silent.", "The task was cancelled", UNKNOWN_TASK]
    for row, sentence in zip(rows, sentences, strict=True):
        (item,) = row["items"]
        assert (row["status"], item["status"], item["stage"], item["progress"]) == (2, 2, "failed", 0.0)
        assert {row["error"], row["progress_text"], item["error"]} == {sentence}
        assert set(item) == ITEM_KEYS


@pytest.mark.parametrize(
    "body",
    [
        lambda a, b: {"json": {"task_id_list": [a, b]}},
        lambda a, b: {"json": {"task_id_list": json.dumps([a, b])}},
        lambda a, b: {"json": {"task_id_list": f"{a},{b}"}},
        lambda a, b: {"json": {"task_ids": [a, b]}},
        lambda a, b: {"json": {"taskIdList": [a, b]}},
        lambda a, b: {"data": {"task_id_list": json.dumps([a, b])}},
        lambda a, b: {"data": {"task_id_list": [a, b]}},
        lambda a, b: {"data": {"task_ids": f"{a}, {b}"}},
        lambda a, b: {"files": {"task_id_list": (None, json.dumps([a, b]))}},
        lambda a, b: {"content": f"task_id_list={a},{b}"},
    ],
)
async def test_forms_of_a_list_of_ids(http: httpx.AsyncClient, submit: Submit, body: Any) -> None:
    await submit({})
    first = (await http.get("/v1/jobs")).json()["jobs"][0]["job_id"]
    answer = await http.post("/query_result", **body(first, "nobody"))
    assert [(row["task_id"], row["status"]) for row in answer.json()["data"]] == [(first, 0), ("nobody", 2)]


@pytest.mark.parametrize("name", ["task_id_list", "task_id", "task_ids", "taskId"])
@pytest.mark.parametrize("form", [str, json.dumps])
async def test_a_bare_id(http: httpx.AsyncClient, name: str, form: Any) -> None:
    for body in ({"json": {name: form("one")}}, {"data": {name: form("one")}}):
        rows = (await http.post("/query_result", **body)).json()["data"]
        assert [row["task_id"] for row in rows] == ["one"]


async def test_as_many_rows_as_ids_in_their_order(http: httpx.AsyncClient) -> None:
    ids = ["b", "a", "b", "\ud800", "5"]
    content = json.dumps({"task_id_list": [*ids[:4], 5]})
    answer = await http.post("/query_result", content=content, headers={"Content-Type": "application/json"})
    assert [row["task_id"] for row in answer.json()["data"]] == ids
    for empty in ({"json": {}}, {"json": {"task_id_list": []}}, {}):
        assert (await http.post("/query_result", **empty)).json()["data"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"task_id_list": ["a", "", None, " "]}},
        {"json": {"task_id_list": '["a", "", null, ""]'}},
        {"data": {"task_id_list": '["a", null, null, ""]'}},
    ],
)
async def test_an_empty_entry_has_a_row_too(http: httpx.AsyncClient, body: dict[str, Any]) -> None:
    rows = (await http.post("/query_result", **body)).json()["data"]
    assert [(row["task_id"], row["status"]) for row in rows] == [("a", 2), ("", 2), ("", 2), ("", 2)]


async def test_too_many_ids_and_strange_ids_are_refused(http: httpx.AsyncClient) -> None:
    ids = [str(number) for number in range(MAX_IDS + 1)]
    assert len((await http.post("/query_result", json={"task_id_list": ids[1:]})).json()["data"]) == MAX_IDS
    for wrong in (ids, [["a"]], [{"a": 1}], {"a": 1}, True):
        answer = await http.post("/query_result", json={"task_id_list": wrong})
        assert (answer.status_code, answer.json()["data"]) == (422, None)


async def test_a_job_of_one_family_is_a_task_of_the_other(
    http: httpx.AsyncClient, submit: Submit, finish: Finish
) -> None:
    job_id = (await http.post("/v1/music/generate", json={"caption": "a song"})).json()["job_id"]
    assert (await query(http, job_id))[0]["status"] == 0
    assert finish() == job_id
    row = (await query(http, job_id))[0]
    job = (await http.get(f"/v1/jobs/{job_id}")).json()
    assert (row["status"], job["status"]) == (1, "succeeded")
    song = await http.get(row["items"][0]["file"])
    assert song.content == (await http.get(job["result"]["first_audio_path"])).content
    await submit({})
    task = (await http.get("/v1/jobs", params={"status": "queued"})).json()["jobs"][0]["job_id"]
    assert (await http.delete(f"/v1/jobs/{task}")).json()["status"] == "cancelled"
    assert (await query(http, task))[0]["status"] == 2


async def test_cancelling_a_task(http: httpx.AsyncClient, service: LocalJobService, submit: Submit) -> None:
    await submit({})
    task_id = service.jobs[0].job_id
    for _ in range(2):
        answer = await http.post("/cancel_task", json={"task_id": task_id})
        assert (answer.status_code, answer.json()["data"]["task_id"]) == (200, task_id)
    assert (await query(http, task_id))[0]["error"] == "The task was cancelled"
    for unknown in ({"json": {"task_id": "nobody"}}, {}):
        answer = await http.post("/cancel_task", **unknown)
        assert (answer.status_code, answer.json()["error"]) == (404, UNKNOWN_TASK)
    assert (await http.post(f"/cleanup/{task_id}")).status_code == 200


async def test_what_has_ended_cannot_be_cancelled(
    http: httpx.AsyncClient, submit: Submit, finish: Finish
) -> None:
    await submit({})
    answer = await http.post("/cancel_task", json={"task_id": finish()})
    assert (answer.status_code, answer.json()["detail"]) == (409, "The job has already succeeded")


async def test_a_full_queue_is_a_429_for_submits_alone(
    http: httpx.AsyncClient, service: LocalJobService, submit: Submit
) -> None:
    for _ in range(200):
        await submit({})
    answer = await http.post("/release_task", json={})
    assert answer.status_code == answer.json()["code"] == 429
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["error"] == answer.json()["detail"]
    assert len(service.jobs) == 200
    assert (await query(http, service.jobs[0].job_id))[0]["status"] == 0


async def test_a_draining_server_is_a_503(http: httpx.AsyncClient, service: LocalJobService) -> None:
    service.tracker.mode = Mode.DRAINING
    answer = await http.post("/release_task", json={})
    assert answer.status_code == answer.json()["code"] == 503
    assert answer.headers["retry-after"] == "60"
    assert (await query(http, "nobody"))[0]["status"] == 2


async def test_the_same_idempotency_key_is_the_same_task(http: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "one"}
    first, second = [
        (await http.post("/release_task", json={"prompt": "a", "ai_token": token}, headers=headers)).json()
        for token in ("one", "another")
    ]
    assert first["data"]["task_id"] == second["data"]["task_id"]
    other = await http.post("/release_task", json={"prompt": "b"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, 409)


async def test_text2music_does_not_read_its_source(submit: Submit) -> None:
    for content in (wav_bytes(0.1, level=0), b"not a song"):
        spec = await submit(data={"prompt": "a"}, files={"ctx_audio": ("a.wav", content)})
        assert spec.source is None
        assert spec.notes == ("The source audio was ignored: task_type is text2music.",)
    both = {"prompt": "a", "src_audio_path": "/no/such/file.wav"}
    spec = await submit(data=both, files={"src_audio": ("a.wav", b"not a song")})
    assert (spec.source, spec.request.src_audio_path) == (None, None)


@pytest.mark.parametrize("name", ["src_audio", "ctx_audio", "srcAudio", "ctxAudio"])
async def test_names_of_the_source(submit: Submit, name: str) -> None:
    spec = await submit(data={"task_type": "cover"}, files={name: ("a.mp3", wav_bytes(2.0))})
    assert spec.source is not None
    assert spec.source.seconds == pytest.approx(2.0)


@pytest.mark.parametrize("name", ["reference_audio", "ref_audio", "refAudio"])
async def test_names_of_the_reference(submit: Submit, name: str) -> None:
    spec = await submit(files={name: ("a.mp3", wav_bytes(2.0))})
    assert spec.reference is not None


@pytest.mark.parametrize("task", ["repaint", "cover"])
async def test_a_silent_source_is_accepted(submit: Submit, task: str) -> None:
    spec = await submit(data={"task_type": task}, files={"src_audio": ("a.wav", wav_bytes(level=0))})
    assert spec.source is not None
    assert spec.source.silent
