"""Chat completions: what a message asks for, the plain and the streamed answer, and clients that leave."""

import asyncio
import base64
import json
from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest

from configs.settings import Settings
from serve_app.api import readiness
from serve_app.api.app import create_app
from serve_app.api.downloads import Downloads
from serve_app.api.intake.body import MAX_JSON_DEPTH, MAX_TEXT_BYTES
from serve_app.api.release_task.chat import route
from serve_app.api.release_task.chat.request import MAX_MODEL_LENGTH, split_text
from serve_app.api.release_task.lenient import MAX_NOTES
from serve_app.api.service import Readiness, UnavailableError
from serve_app.jobs.storing.store import StoreError
from serve_app.request.spec import JobSpec
from serve_app.storage import AudioStorage, StorageError
from tests.asgi_client import SOON, Asking, until
from tests.unit.api.conftest import LocalJobService, wav_bytes
from tests.unit.api.release_task.conftest import CONTENT, Finish, notes_of
from tests.unit.api.shared_app import SharedApp

CHAT = "/v1/chat/completions"
URL = f"data:audio/mpeg;base64,{base64.b64encode(CONTENT).decode()}"


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share one application."""
    return shared_http


def user(content: Any, **fields: Any) -> dict[str, Any]:
    """A body with one message."""
    return {"messages": [{"role": "user", "content": content}], **fields}


async def until_submitted(service: LocalJobService, jobs: int = 1) -> None:
    async with asyncio.timeout(30):
        while len(service.jobs) < jobs:  # noqa: ASYNC110, nobody else tells
            await asyncio.sleep(0.005)


@pytest.fixture
def chat(http: httpx.AsyncClient, service: LocalJobService, finish: Finish) -> Any:
    """Sends a body and ends its job with songs; the answer."""

    async def send(body: dict[str, Any], songs: int = 1, path: str = CHAT, **changes: Any) -> httpx.Response:
        before = len(service.jobs)
        asked = asyncio.create_task(http.post(path, json=body))
        try:
            await until_submitted(service, before + 1)
            finish(songs, **changes)
            return await asked
        finally:
            asked.cancel()

    return send


@pytest.fixture
def specify(http: httpx.AsyncClient, service: LocalJobService) -> Any:
    """Sends a body and cancels its job; the specification of the job."""

    async def send(body: dict[str, Any]) -> JobSpec:
        before = len(service.jobs)
        asked = asyncio.create_task(http.post(CHAT, json=body))
        try:
            await until_submitted(service, before + 1)
            spec = service.last
            service.tracker.cancel(service.jobs[-1].job_id)
            assert (await asked).status_code == 500
            return spec
        finally:
            asked.cancel()

    return send


async def test_a_plain_answer(chat: Any, service: LocalJobService) -> None:
    for path in (CHAT, f"/api{CHAT}"):
        answer = await chat(user("a sad song", model="acestep/acestep-v15-turbo"), path=path)
        body = answer.json()
        job_id = service.jobs[-1].job_id
        assert answer.status_code == 200
        assert (body["object"], body["model"], body["task_id"]) == (
            "chat.completion", "acestep/acestep-v15-turbo", job_id,
        )  # fmt: skip
        assert body["id"] == f"chatcmpl-{job_id.replace('-', '')}"
        (choice,) = body["choices"]
        assert (choice["index"], choice["finish_reason"]) == (0, "stop")
        message = choice["message"]
        assert message["role"] == "assistant"
        assert message["content"].splitlines() == [
            "## Metadata", "**Caption:** a sad song of the LM", "**BPM:** 72", "**Duration:** 10s",
            "**Key:** C Major", "", "## Lyrics", "[Verse]", "The LM sings",
        ]  # fmt: skip
        assert message["audio"] == [{"type": "audio_url", "audio_url": {"url": URL}}]
        assert message["audio_codes"] is None
        usage = body["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0


async def test_every_song_of_a_batch_and_its_codes(chat: Any, service: LocalJobService) -> None:
    body = user("a song", batch_size=2)
    codes = ["<|audio_code_1|>", "<|audio_code_2|>"]
    answer = await chat(body, songs=2, audio_codes=codes, metas={"lyrics": "[Instrumental]"})
    message = answer.json()["choices"][0]["message"]
    assert [part["audio_url"]["url"] for part in message["audio"]] == [URL, URL]
    assert message["audio_codes"] == "\n".join(codes)
    assert "## Lyrics" not in message["content"]
    assert service.jobs[-1].job_id


@pytest.mark.parametrize(
    ("audio_format", "media_type"), [("wav", "audio/wav"), ("flac", "audio/flac"), ("aac", "audio/mp4")]
)
async def test_the_type_of_the_song(chat: Any, audio_format: str, media_type: str) -> None:
    answer = await chat(user("a song", audio_config={"format": audio_format}))
    (part,) = answer.json()["choices"][0]["message"]["audio"]
    assert part["audio_url"]["url"].startswith(f"data:{media_type};base64,")


async def test_defaults_and_fields(specify: Any) -> None:
    spec = await specify(user("a song"))
    request = spec.request
    assert (request.caption, request.lyrics, request.batch_size) == ("a song", "", 1)
    assert (request.lm_cfg_scale, spec.dit, request.use_random_seed) == (2.0, "acestep-v15-turbo", True)
    config = {
        "duration": 7, "bpm": 90, "key_scale": "D minor", "time_signature": "3/4", "vocal_language": "de",
        "instrumental": True, "format": "wav",
    }  # fmt: skip
    fields = {"temperature": 0.5, "top_p": 0.8, "top_k": 30, "seed": 5, "max_tokens": 9, "stop": ["x"]}
    fields |= {"model": "other/model", "modalities": ["audio"], "audio_config": config}
    spec = await specify(user("a song", **fields))
    request = spec.request
    assert (request.audio_duration, request.bpm, request.key_scale) == (7.0, 90, "D minor")
    assert (request.time_signature, request.vocal_language, request.audio_format) == ("3/4", "de", "wav")
    assert (request.lm_temperature, request.lm_top_p, request.lm_top_k) == (0.5, 0.8, 30)
    assert request.lyrics == "[inst]"
    assert spec.seeds == (5,)
    assert len(spec.notes) == 1
    assert "model" in spec.notes[0]


async def test_fields_of_release_task_work_as_there(specify: Any) -> None:
    spec = await specify(user("a", thinking=True, shift=2, inference_steps=500, seed="1,2,3", batch_size=3))
    assert (spec.request.thinking, spec.request.shift, spec.seeds) == (True, 2.0, (1, 2, 3))
    assert spec.request.inference_steps == 200
    spec = await specify(user("a", param_obj={"bpm": 70}, audioFormat="flac"))
    assert (spec.request.bpm, spec.request.audio_format) == (70, "flac")
    spec = await specify({"audio_codes": "<|audio_code_5|>"})
    assert spec.codes == ((5,),)


LYRICS = "la la la\nda da da\n\nna na na\nha ha ha"


@pytest.mark.parametrize(
    ("text", "prompt", "lyrics"),
    [
        ("a sad song", "a sad song", ""),
        ("<prompt>folk</prompt><lyrics>la la</lyrics>", "folk", "la la"),
        ("<PROMPT> folk </PROMPT>\n<Lyrics>\nla\nla\n</Lyrics>", "folk", "la\nla"),
        ("<prompt>folk</prompt> and more", "folk", ""),
        ("a folk song <lyrics>la la</lyrics> please", "a folk song  please", "la la"),
        ("[Verse 1]\nla la", "", "[Verse 1]\nla la"),
        ("[PRE-CHORUS]\nla la", "", "[PRE-CHORUS]\nla la"),
        ("[inst]", "", "[inst]"),
        (LYRICS, "", LYRICS),
        ("one\ntwo\nthree", "one\ntwo\nthree", ""),
        ("\n".join(["a very long line " * 5] * 4), "\n".join(["a very long line " * 5] * 4), ""),
        ("<prompt>open", "<prompt>open", ""),
        ("<lyrics>la</lyrics> then <prompt>folk</prompt>", "folk", "la"),
        ("<pROMPT>folk</PrOmPt> <LYRICS>La</lyrics>", "folk", "La"),
        ("<prompt>one</prompt><prompt>two</prompt>", "one", ""),
        ("a <lyrics>la</lyrics> b <lyrics>lu</lyrics> c", "a  b  c", "la"),
        ("<prompt>a <lyrics>la</lyrics> song</prompt>", "a <lyrics>la</lyrics> song", "la"),
        ("<prompt>a <lyrics>la</prompt> song</lyrics>", "a <lyrics>la", "la</prompt> song"),
        ("<prompt>outer <prompt>inner</prompt> rest</prompt>", "inner", ""),
        ("<lyrics>open <lyrics>la</lyrics>", "<lyrics>open", "la"),
        ("<prompt>open <lyrics>la</lyrics>", "<prompt>open", "la"),
        ("</prompt>folk<prompt>", "</prompt>folk<prompt>", ""),
        ("</lyrics><lyrics>la</lyrics></lyrics>", "</lyrics></lyrics>", "la"),
        ("<prompt></prompt><lyrics>la</lyrics>", "", "la"),
        ("<prompt> </prompt>", "", ""),
        ("< prompt>folk</prompt>", "< prompt>folk</prompt>", ""),
        ("<prompt>folk</ prompt>", "<prompt>folk</ prompt>", ""),
    ],
)
def test_what_a_text_is(text: str, prompt: str, lyrics: str) -> None:
    assert split_text(text) == (prompt, lyrics)


async def test_where_the_text_goes(specify: Any) -> None:
    assert (await specify(user("[verse] la"))).request.lyrics == "[verse] la"
    spec = await specify(user(LYRICS, lyrics="other words"))
    assert (spec.request.caption, spec.request.lyrics) == (LYRICS, "other words")
    spec = await specify(user(LYRICS, sample_mode=True))
    assert (spec.request.sample_query, spec.request.lyrics, spec.request.caption) == (LYRICS, "", "")
    assert (await specify(user("", sample_mode=True))).request.sample_mode
    messages = [
        {"role": "user", "content": "the first"},
        {"role": "assistant", "content": "a song"},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        {"role": "system", "content": "not this"},
    ]
    assert (await specify({"messages": messages})).request.caption == "one\ntwo"


async def test_fields_are_found_under_each_of_their_names(specify: Any) -> None:
    for fields in ({"sampleMode": True}, {"param_obj": {"sample_mode": "true"}}):
        spec = await specify(user(LYRICS, **fields))
        assert (spec.request.sample_query, spec.request.lyrics) == (LYRICS, "")
    spec = await specify(user(LYRICS, param_obj={"lyrics": "other words"}))
    assert (spec.request.caption, spec.request.lyrics) == (LYRICS, "other words")
    data = base64.b64encode(wav_bytes()).decode()
    spec = await specify(user([audio(data)], metas={"taskType": "cover"}))
    assert (spec.source is not None, spec.reference) == (True, None)
    spec = await specify(user("a", param_obj={"instrumental": True, "seed": 5}))
    assert (spec.request.lyrics, spec.seeds) == ("[inst]", (5,))


@pytest.mark.parametrize(
    ("fields", "name", "meant"),
    [
        ({"param_obj": {"prompt": "a song"}}, "caption", "a song"),
        ({"description": "a song"}, "sample_query", "a song"),
        ({"metas": {"lyrics": "la la"}}, "lyrics", "la la"),
        ({"paramObj": {"sampleMode": True}}, "sample_mode", True),
        ({"audioCodes": "5,6"}, "thinking", True),
    ],
)
async def test_each_place_of_something_to_make(
    specify: Any, fields: dict[str, Any], name: str, meant: Any
) -> None:
    assert getattr((await specify(fields)).request, name) == meant


@pytest.mark.parametrize("name", ["src_audio_path", "refAudioPath"])
async def test_a_song_of_this_server_is_something_to_make(http: httpx.AsyncClient, name: str) -> None:
    answer = await http.post(CHAT, json={name: "/no/such/song.mp3", "task_type": "cover"})
    assert (answer.status_code, "upload the file" in answer.json()["detail"]) == (422, True)


async def test_an_unknown_fact_of_the_audio_config_hides_nothing(specify: Any) -> None:
    config = {"bpm": "auto", "duration": "N/A", "key": "D minor"}
    spec = await specify(user("a", bpm=90, duration=7, key_scale="C major", audio_config=config))
    assert (spec.request.bpm, spec.request.audio_duration, spec.request.key_scale) == (90, 7.0, "D minor")


def audio(data: str) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


async def test_where_recordings_go(specify: Any) -> None:
    data = base64.b64encode(wav_bytes()).decode()
    text = {"type": "text", "text": "a song"}
    spec = await specify(user([text, audio(data)]))
    assert (spec.source, spec.reference is not None) == (None, True)
    url = f"data:audio/wav;base64,{data}"
    spec = await specify(user([text, audio(url)], task_type="cover"))
    assert (spec.source is not None, spec.reference) == (True, None)
    spec = await specify(user([audio(data), audio(url), text], task_type="repaint"))
    assert spec.source
    assert spec.reference


TOO_MUCH = "x" * (MAX_TEXT_BYTES + 1)


@pytest.mark.parametrize(
    "body",
    [
        user(TOO_MUCH),
        user([{"type": "text", "text": TOO_MUCH[: MAX_TEXT_BYTES // 2]}] * 3),
        user("a song", lyrics=TOO_MUCH),
        user("a song", param_obj={"lyrics": ["x", TOO_MUCH]}),
        user("a song", **{TOO_MUCH: 1}),
        user("a song", audio_config={"key": TOO_MUCH}),
        user(TOO_MUCH[: MAX_TEXT_BYTES // 2], lyrics=TOO_MUCH[MAX_TEXT_BYTES // 2 :]),
    ],
    ids=["message", "parts", "field", "nested", "name", "audio_config", "together"],
)
async def test_a_chat_has_no_more_text_than_other_requests(
    http: httpx.AsyncClient, service: LocalJobService, body: dict[str, Any]
) -> None:
    answer = await asyncio.wait_for(http.post(CHAT, json=body), SOON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, 413)
    assert f"{MAX_TEXT_BYTES:,}" in answer.json()["error"]["message"]
    assert service.jobs == []


async def test_recordings_do_not_count_as_text(specify: Any) -> None:
    data = base64.b64encode(wav_bytes()).decode() + "\n" * MAX_TEXT_BYTES
    text = {"type": "text", "text": "a song"}
    spec = await specify(user([text, audio(data)]))
    assert (spec.request.caption, spec.reference is not None) == ("a song", True)
    earlier = {"role": "user", "content": [text, audio(data)]}
    answered = {"role": "assistant", "content": "a song", "audio": [{"audio_url": {"url": TOO_MUCH}}]}
    spec = await specify({"messages": [earlier, answered, {"role": "user", "content": "louder"}]})
    assert (spec.request.caption, spec.reference) == ("louder", None)
    assert (await specify(user(TOO_MUCH[1_000:]))).request.caption


async def test_any_number_of_unknown_names_makes_few_notes(specify: Any) -> None:
    spec = await specify(user("a song", track_classes="x," * 500_000))
    assert 1 < len(spec.notes) <= MAX_NOTES
    assert len(notes_of(spec)) < MAX_NOTES * 300


@pytest.mark.parametrize("streams", [True, False])
async def test_the_name_of_a_model_comes_back_cut(chat: Any, streams: bool) -> None:
    answer = await chat(user("a song", model="m" * 5_000, stream=streams))
    told = events(answer.content)[0] if streams else answer.json()
    assert told["model"] == "m" * MAX_MODEL_LENGTH


async def test_a_model_that_is_no_name_may_be_nested_so_deep(
    http: httpx.AsyncClient, service: LocalJobService, specify: Any
) -> None:
    assert len((await specify({**user("a song"), "model": nested(MAX_JSON_DEPTH - 1)})).notes) == 1
    jobs = len(service.jobs)
    for levels in (MAX_JSON_DEPTH, 900):
        body = {**user("a song"), "model": nested(levels)}
        answer = await asyncio.wait_for(http.post(CHAT, json=body), SOON)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)
        assert "nested too deeply" in answer.json()["detail"]
    assert len(service.jobs) == jobs


def nested(levels: int) -> list[Any]:
    """As many arrays inside each other."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        user(""),
        user([]),
        user("", audio_codes=[""]),
        {"messages": [{"role": "system", "content": "a song"}]},
        user([audio("no base64!")]),
        user([audio("")]),
        user([{"type": "input_audio"}]),
        user([audio(base64.b64encode(b"not a song").decode())]),
    ],
)
async def test_nothing_to_make(
    http: httpx.AsyncClient, service: LocalJobService, body: dict[str, Any]
) -> None:
    answer = await http.post(CHAT, json=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["data"]) == (400, 400, None)
    assert problem["error"] == {
        "message": problem["detail"], "type": "invalid_request_error", "param": None, "code": 400,
    }  # fmt: skip
    assert service.jobs == []


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"json": {"messages": "a song"}}, 422),
        ({"json": {"messages": [5]}}, 422),
        ({"json": user(5)}, 422),
        ({"json": user("a", audio_config="wav")}, 422),
        ({"json": user("a", audio_config={"format": "midi"})}, 422),
        ({"json": user("a", task_type="cover")}, 422),
        ({"data": {"prompt": "a"}}, 415),
        ({"content": "a song"}, 415),
        ({"content": "{", "headers": {"Content-Type": "application/json"}}, 400),
    ],
)
async def test_bodies_that_are_no_chat(http: httpx.AsyncClient, options: dict[str, Any], status: int) -> None:
    answer = await http.post(CHAT, **options)
    assert answer.status_code == status
    assert answer.json()["error"]["message"] == answer.json()["detail"]
    assert isinstance(answer.json()["detail"], str)


async def test_a_server_that_is_not_ready(
    service: LocalJobService, settings: Settings, storage: AudioStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "RENEWED_SECONDS", 0.0)
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0.0)
    service.parts["Generator"] = Readiness.AWAY
    transport = httpx.ASGITransport(create_app(service, settings, storage))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        answer = await http.post(CHAT, json=user("a song"))
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")
    assert int(answer.headers["retry-after"]) > 0
    assert service.jobs == []


async def test_a_failed_song(http: httpx.AsyncClient, service: LocalJobService) -> None:
    asked = asyncio.create_task(http.post(CHAT, json=user("a song")))
    await until_submitted(service)
    claim = service.claim()
    service.tracker.fail(claim.job.job_id, claim.token, "The sound was silent.", retryable=False)
    answer = await asked
    assert (answer.status_code, answer.json()["error"]["message"]) == (500, "The sound was silent.")


async def test_a_song_that_takes_too_long_is_cancelled(
    http: httpx.AsyncClient, service: LocalJobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "PATIENCE_SECONDS", 0.02)
    answer = await http.post(CHAT, json=user("a song"))
    assert (answer.status_code, answer.json()["code"]) == (504, 504)
    assert "cancelled" in answer.json()["detail"]
    await until_cancelled(service)


async def test_a_song_that_takes_too_long_goes_on_where_its_client_can_come_back(
    http: httpx.AsyncClient, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"Idempotency-Key": "once"}
    with monkeypatch.context() as impatient:
        impatient.setattr(route, "PATIENCE_SECONDS", 0.02)
        answer = await http.post(CHAT, json=user("a song"), headers=key)
    assert (answer.status_code, "Idempotency-Key" in answer.json()["detail"]) == (504, True)
    await settled()
    finish()
    again = await asyncio.wait_for(http.post(CHAT, json=user("a song"), headers=key), SOON)
    assert URL in again.text


async def until_cancelled(service: LocalJobService) -> None:
    async with asyncio.timeout(30):
        while True:
            view = service.tracker.view(service.jobs[-1].job_id)
            if view and view.state == "cancelled":
                return
            await asyncio.sleep(0.005)


# Streams


def events(content: bytes) -> list[Any]:
    """The data of each event; `[DONE]` as text."""
    texts = content.decode().split("\n\n")
    assert texts.pop() == ""
    assert all(text.startswith("data: ") and "\n" not in text for text in texts)
    return [json.loads(text[6:]) if text != "data: [DONE]" else "[DONE]" for text in texts]


async def test_a_stream(chat: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "SIGN_OF_LIFE_SECONDS", 0.001)
    codes = ["<|audio_code_1|>", None]
    answer = await chat(user("a song", stream=True, batch_size=2), songs=2, audio_codes=codes)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")
    *chunks, done = events(answer.content)
    assert done == "[DONE]"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    choices = [chunk["choices"] for chunk in chunks]
    assert all(len(choice) == 1 and choice[0]["index"] == 0 for choice in choices)
    deltas = [choice[0]["delta"] for choice in choices]
    assert deltas[0] == {"role": "assistant", "content": ""}
    told = [delta for delta in deltas[1:] if delta != {"content": "."}]
    assert told[0]["content"].startswith("\n\n## Metadata\n**Caption:**")
    song = {"audio": [{"type": "audio_url", "audio_url": {"url": URL}}]}
    assert told[1:] == [song, song, {"content": "\n\n[audio_codes]<|audio_code_1|>[/audio_codes]"}, {}]
    assert [choice[0]["finish_reason"] for choice in choices] == [None] * (len(chunks) - 1) + ["stop"]


async def test_signs_of_life_in_a_stream(
    service: LocalJobService,
    settings: Settings,
    storage: AudioStorage,
    finish: Finish,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(route, "SIGN_OF_LIFE_SECONDS", 0.01)
    asking = stream(service, settings, storage)
    async with asyncio.timeout(30):
        while asking.body.count(b'{"content": "."}') < 3:  # noqa: ASYNC110, nobody else tells
            await asyncio.sleep(0.005)
    finish()
    async with asyncio.timeout(30):
        while b"[DONE]" not in asking.body:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    asking.leave()
    await asking.answered
    assert service.tracker.view(service.jobs[0].job_id).state == "succeeded"


async def test_a_failed_stream(http: httpx.AsyncClient, service: LocalJobService) -> None:
    asked = asyncio.create_task(http.post(CHAT, json=user("a song", stream=True)))
    await until_submitted(service)
    claim = service.claim()
    service.tracker.fail(claim.job.job_id, claim.token, "The sound was silent.", retryable=False)
    *_, error, last, done = events((await asked).content)
    assert error["choices"][0]["delta"] == {"content": "\n\nError: The sound was silent."}
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "error")
    assert done == "[DONE]"


class Stuck(Asking):
    """A client that takes no message of one type, and none after it."""

    refused = ""

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == self.refused:
            await asyncio.Event().wait()
        await super()._send(message)


def chatting(app: Any, key: str | None = None, streams: bool = True, **fields: Any) -> Asking:
    """A client that has sent its chat and waits."""
    headers = {"content-type": "application/json", "host": "server"}
    asking = Asking(app, "POST", CHAT, headers | ({"idempotency-key": key} if key else {}))
    asking.send(json.dumps(user("a song", stream=streams, **fields)).encode(), more=False)
    return asking


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def stream(
    service: LocalJobService,
    settings: Settings,
    storage: AudioStorage,
    streams: bool = True,
    client: type[Asking] = Asking,
) -> Asking:
    app = create_app(service, settings, storage)
    headers = {"content-type": "application/json", "host": "server"}
    asking = client(app, "POST", CHAT, headers)
    asking.send(json.dumps(user("a song", stream=streams)).encode(), more=False)
    return asking


@pytest.mark.parametrize("error", [StoreError("away"), UnavailableError("JobTracker")])
@pytest.mark.parametrize("streams", [True, False])
async def test_a_tracker_that_restarts_ends_no_answer(
    chat: Any, service: LocalJobService, monkeypatch: pytest.MonkeyPatch, streams: bool, error: Exception
) -> None:
    monkeypatch.setattr(route, "AWAY_SECONDS", 0.001)
    wait_change = service.wait_change
    faults = [error] * 3

    async def failing_thrice(*arguments: Any) -> Any:
        if faults:
            raise faults.pop()
        return await wait_change(*arguments)

    monkeypatch.setattr(service, "wait_change", failing_thrice)
    answer = await chat(user("a song", stream=streams))
    assert (answer.status_code, faults) == (200, [])
    assert URL in answer.text


async def test_an_error_after_the_first_chunk_ends_the_stream_in_order(
    chat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: Any) -> Any:
        raise StorageError("the disk is away")

    monkeypatch.setattr(Downloads, "whole", lost)
    answer = await chat(user("a song", stream=True))
    *_, error, last, done = events(answer.content)
    told = error["choices"][0]["delta"]["content"]
    assert told.startswith("\n\nError: The server cannot reach its audio files")
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "error")
    assert done == "[DONE]"


@pytest.mark.parametrize("refused", ["http.response.start", "http.response.body"])
async def test_the_job_of_a_client_that_left_before_the_first_chunk_is_cancelled(
    service: LocalJobService,
    settings: Settings,
    storage: AudioStorage,
    monkeypatch: pytest.MonkeyPatch,
    refused: str,
) -> None:
    monkeypatch.setattr(Stuck, "refused", refused)
    asking = stream(service, settings, storage, client=Stuck)
    asking.leave()
    await asking.answered
    await until_cancelled(service)


@pytest.mark.parametrize("streams", [True, False])
async def test_the_job_of_a_client_that_leaves_is_cancelled(
    service: LocalJobService, settings: Settings, storage: AudioStorage, streams: bool
) -> None:
    asking = stream(service, settings, storage, streams)
    await until_submitted(service)
    if streams:
        await asking.begun.wait()
    service.claim()
    asking.leave()
    await until_cancelled(service)
    await asking.answered


# Clients that can come back


@pytest.mark.parametrize("streams", [True, False])
async def test_the_job_of_a_client_that_can_come_back_goes_on_without_it(
    shared_app: SharedApp, settings: Settings, service: LocalJobService, finish: Finish, streams: bool
) -> None:
    app = shared_app(settings)
    asking = chatting(app, "once", streams)
    await asyncio.wait_for(service.until_waiting(1), SOON)
    asking.leave()
    await asyncio.wait_for(asking.answered, SOON)
    await settled()
    finish()
    again = chatting(app, "once", streams)
    await until_told(again)
    again.leave()
    await asyncio.wait_for(again.answered, SOON)
    assert len(service.jobs) == 1


@pytest.mark.parametrize("streams", [True, False])
async def test_of_two_clients_with_one_key_each_may_leave(
    shared_app: SharedApp, settings: Settings, service: LocalJobService, finish: Finish, streams: bool
) -> None:
    app = shared_app(settings)
    leaving, staying = chatting(app, "once", streams), chatting(app, "once", streams)
    await asyncio.wait_for(service.until_waiting(2), SOON)
    leaving.leave()
    await asyncio.wait_for(leaving.answered, SOON)
    await settled()
    finish()
    await until_told(staying)
    staying.leave()
    await asyncio.wait_for(staying.answered, SOON)
    assert len(service.jobs) == 1


async def until_told(asking: Asking) -> None:
    """Wait until a client has its song."""
    await until(lambda: URL.encode() in asking.body)
    assert asking.status == 200
