"""The server tells about itself in the ACE-Step API; its examples, and its LoRA routes."""

import asyncio
import json
import threading
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from configs.domain import INSTRUMENTAL
from configs.settings import Settings
from serve_app.api import readiness
from serve_app.api.app import create_app
from serve_app.api.intake.submission import Submission
from serve_app.api.release_task.mapping import Mapped, RequestMapper
from serve_app.api.release_task.samples import examples
from serve_app.api.routes import server
from serve_app.api.service import Condition, Readiness
from serve_app.api.threads import INLINE_BYTES
from serve_app.request.draft import Draft
from serve_app.request.planning import song_plan
from serve_app.request.schemas import MAX_CAPTION_LENGTH, GenerateRequest
from serve_app.request.song_plan import SongPlan, SongWords
from serve_app.storage import AudioStorage
from tests.unit.api.conftest import LocalJobService
from tests.unit.api.release_task.conftest import Finish, Submit

DIT = "acestep-v15-turbo"
LM = "acestep-5Hz-lm-0.6B"


@pytest.fixture
def parts(service: LocalJobService, monkeypatch: pytest.MonkeyPatch) -> dict[str, Readiness]:
    """The readiness of the parts, which is asked for at each call."""
    monkeypatch.setattr(readiness, "RENEWED_SECONDS", 0.0)
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0.0)
    service.parts = dict.fromkeys(("JobTracker", "LanguageModel", "Generator", "Codec"), Readiness.READY)
    return service.parts


async def told(http: httpx.AsyncClient, path: str, method: str = "GET", **options: Any) -> dict[str, Any]:
    answer = await http.request(method, path, **options)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["code"], answer.json()["error"]) == (200, None)
    return answer.json()["data"]


async def test_health_tells_which_models_can_serve(
    http: httpx.AsyncClient, parts: dict[str, Readiness]
) -> None:
    expected = {
        "status": "ok",
        "service": "acestep-serve",
        "version": "1.0",
        "models_initialized": True,
        "llm_initialized": True,
        "loaded_model": DIT,
        "loaded_lm_model": LM,
    }
    assert await told(http, "/health") == await told(http, "/api/health", "POST") == expected
    parts |= {"Generator": Readiness.AWAY, "LanguageModel": Readiness.AWAY}
    away = await told(http, "/health")
    assert (away["models_initialized"], away["llm_initialized"], away["loaded_model"]) == (False, False, None)
    top = (await http.get("/health")).json()
    assert (top["status"], top["service"]) == ("ok", "acestep-serve")
    assert (await http.head("/health")).status_code == 200


async def test_health_waits_for_nobody(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: readiness.KnownCondition) -> Condition:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(server, "HEALTH_PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(readiness.KnownCondition, "__call__", never)
    assert (await told(http, "/health"))["models_initialized"] is False


async def test_stats(http: httpx.AsyncClient, submit: Submit, finish: Finish) -> None:
    await submit({})
    finish()
    await submit({})
    for method in ("GET", "POST"):
        stats = await told(http, "/v1/stats", method)
        assert stats["jobs"] == {"total": 2, "queued": 1, "running": 0, "succeeded": 1, "failed": 0}
        assert (stats["queue_size"], stats["queue_maxsize"]) == (1, 200)
        assert stats["avg_job_seconds"] >= 0
    assert (await http.get("/v1/stats")).json()["queue_length"] == 1


async def test_models(http: httpx.AsyncClient) -> None:
    for method, path in (("GET", "/v1/models"), ("POST", "/api/v1/models")):
        body = (await http.request(method, path)).json()
        assert "code" not in body
        assert (body["object"], body["default_model"]) == ("list", DIT)
        (model,) = body["data"]
        assert (model["id"], model["name"], model["context_length"]) == (f"acestep/{DIT}", DIT, 4096)
        assert model["id"].split("/")[1] == DIT
        assert (model["input_modalities"], model["output_modalities"]) == (
            ["text", "audio"],
            ["audio", "text"],
        )
        assert model["max_output_length"] == 20
        assert model["pricing"] == {"prompt": "0", "completion": "0", "request": "0"}
        assert isinstance(model["created"], int)


async def test_the_inventory(http: httpx.AsyncClient, parts: dict[str, Readiness]) -> None:
    for method in ("GET", "POST"):
        told_now = await told(http, "/v1/model_inventory", method)
        (model,) = told_now["models"]
        assert (model["name"], model["is_default"], model["is_loaded"]) == (DIT, True, True)
        assert model["supported_task_types"] == ["text2music", "cover", "repaint"]
        assert told_now["lm_models"] == [{"name": LM, "is_loaded": True}]
        assert (told_now["default_model"], told_now["loaded_lm_model"]) == (DIT, LM)
        assert told_now["llm_initialized"]
    parts["Generator"] = Readiness.AWAY
    assert not (await told(http, "/v1/model_inventory"))["models"][0]["is_loaded"]


@pytest.mark.parametrize(
    "body",
    [{}, {"model": DIT}, {"model": f"acestep/{DIT}", "slot": 2, "init_llm": True, "lm_model_path": LM}],
)
@pytest.mark.usefixtures("parts")
async def test_loading_what_is_served_changes_nothing(http: httpx.AsyncClient, body: dict[str, Any]) -> None:
    loaded = await told(http, "/v1/init", "POST", json=body)
    assert (loaded["slot"], loaded["loaded_model"], loaded["loaded_lm_model"]) == (
        body.get("slot", 1),
        DIT,
        LM,
    )
    assert (loaded["llm_initialized"], len(loaded["models"]), len(loaded["lm_models"])) == (True, 1, 1)
    assert loaded["message"]


async def test_no_other_model_is_loaded(http: httpx.AsyncClient) -> None:
    for body in ({"model": "acestep-v17"}, {"lm_model_path": "acestep-5Hz-lm-70B"}):
        answer = await http.post("/v1/init", json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, 400)
        assert DIT in answer.json()["error"] or LM in answer.json()["error"]
    for slot in (0, 4, "x", True, 1.5):
        assert (await http.post("/v1/init", json={"slot": slot})).status_code == 422
    assert (await told(http, "/v1/reinitialize", "POST"))["reloaded"] == []


async def test_examples_of_songs(http: httpx.AsyncClient) -> None:
    assert len(examples()) >= 20
    assert len({example["language"] for example in examples()}) >= 10
    for options in ({}, {"json": {}}, {"json": {"sample_type": "simple_mode"}}):
        simple = await told(http, "/create_random_sample", "POST", **options)
        assert set(simple) == {"description", "instrumental", "vocal_language"}
    whole = await told(http, "/create_random_sample", "POST", data={"sample_type": "custom"})
    assert set(whole) == {
        "think", "caption", "lyrics", "bpm", "duration", "keyscale", "language", "timesignature",
    }  # fmt: skip
    assert isinstance(whole["bpm"], int)
    assert isinstance(whole["duration"], int)


async def test_every_example_is_a_song_that_this_server_makes(submit: Submit) -> None:
    for example in examples():
        spec = await submit(
            {name: example[name] for name in example if name != "description"} | {"duration": 5}
        )
        assert spec.notes == ()


async def test_lora_routes_of_a_server_without_adapters(http: httpx.AsyncClient) -> None:
    status = await told(http, "/v1/lora/status")
    assert (status["lora_loaded"], status["use_lora"], status["adapters"]) == (False, False, [])
    assert status["synthetic_default_mode"] is False
    assert "⚠️" in (await told(http, "/v1/lora/unload", "POST"))["message"]
    refused = [
        ("/v1/lora/load", {"lora_path": "folk"}, 400),
        ("/v1/lora/load", {}, 422),
        ("/v1/lora/toggle", {"use_lora": True}, 400),
        ("/v1/lora/toggle", {}, 422),
        ("/v1/lora/scale", {"scale": 0.5}, 400),
        ("/v1/lora/scale", {"scale": 1.5}, 422),
        ("/v1/lora/scale", {"scale": "much"}, 422),
    ]
    for path, body, code in refused:
        answer = await http.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (code, code)
    assert (await http.post("/v1/lora/load", json={"lora_path": "x"})).json()["error"].startswith("❌ ")


async def test_texts_that_are_too_long_to_be_rewritten_come_back_unchanged(
    http: httpx.AsyncClient, service: LocalJobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fits(_: Submission, request: GenerateRequest) -> bool:
        return len(request.caption + request.lyrics) <= 1_000

    monkeypatch.setattr(Submission, "prompt_fits", fits)
    lyrics = "word " * 1_000
    song = await told(http, "/format_input", "POST", json={"prompt": "a song", "lyrics": lyrics})
    assert (song["caption"], song["lyrics"], song["bpm"]) == ("a song", lyrics, 90)
    (draft,) = service.planned
    assert len(draft.spec.request.lyrics) < 1_000
    assert not draft.spec.request.use_format


@pytest.mark.parametrize(
    ("query", "heard"),
    [("a" * 16_000, "a" * MAX_CAPTION_LENGTH), ("nul \0 and \ud800", "nul  and "), (None, "")],
    ids=["too long", "no characters", "none"],
)
@pytest.mark.parametrize("form", [False, True], ids=["JSON", "form"])
async def test_a_sentence_about_a_song_is_read_leniently(
    http: httpx.AsyncClient, service: LocalJobService, query: Any, heard: str, form: bool
) -> None:
    if form:
        text = "" if query is None else str(query)
        content = f"query={quote(text, errors='replace')}"
        heard = heard.replace("and ", "and ?") if "nul" in heard else heard
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
    else:
        content, headers = json.dumps({"query": query}), {}
    assert (await http.post("/v1/create_sample", content=content, headers=headers)).status_code == 200
    (draft,) = service.planned
    assert draft.spec.request.sample_query == heard


@pytest.mark.parametrize("path", ["/format_input", "/v1/create_sample", "/create_random_sample"])
async def test_a_full_queue_refuses_no_texts(http: httpx.AsyncClient, path: str) -> None:
    """They make no job, and wait behind none."""
    while (await http.post("/release_task", json={})).status_code == 200:
        pass
    assert (await http.post(path, json={"prompt": "a"})).status_code == 200


@pytest.mark.parametrize("path", ["/format_input", "/v1/create_sample"])
async def test_a_language_model_that_takes_too_long_leaves_the_input_as_it_is(
    http: httpx.AsyncClient, parts: dict[str, Readiness], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing_in_time(_: LocalJobService, draft: Draft) -> SongPlan:
        return song_plan(draft, replace(draft.given, duration=30.0), lm_answered=False)

    monkeypatch.setattr(LocalJobService, "plan", nothing_in_time)
    fields = {"prompt": "a song", "lyrics": "la la", "param_obj": {"bpm": 77}}
    song = await told(http, path, "POST", json=fields)
    if path == "/format_input":
        assert (song["caption"], song["lyrics"], song["bpm"], song["key_scale"]) == (
            "a song",
            "la la",
            77,
            None,
        )
    else:
        assert (song["bpm"], song["keyscale"], song["timesignature"]) == (77, None, None)
    parts["LanguageModel"] = Readiness.AWAY
    away = await http.post(path, json=fields)
    assert (away.status_code, away.json()["error"]) == (503, "Not ready: LanguageModel")
    assert away.headers["retry-after"] == "5"


@pytest.mark.parametrize("path", ["/format_input", "/v1/create_sample"])
async def test_a_client_has_so_many_texts_written_at_once(
    service: LocalJobService,
    settings: Settings,
    storage: AudioStorage,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    plan = LocalJobService.plan

    async def slow_plan(self: LocalJobService, draft: Draft) -> SongPlan:
        begun.set()
        await go_on.wait()
        return await plan(self, draft)

    monkeypatch.setattr(LocalJobService, "plan", slow_plan)
    api = settings.api.model_copy(update={"client_requests": 1})
    app = create_app(service, settings.model_copy(update={"api": api}), storage)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as http:
        first = asyncio.create_task(http.post(path, json={"prompt": "a"}))
        await begun.wait()
        refused = await http.post(path, json={"prompt": "a"})
        body = refused.json()
        assert (refused.status_code, body["code"], body["data"]) == (429, 429, None)
        assert body["error"] == body["detail"]
        assert refused.headers["retry-after"] == "5"
        go_on.set()
        assert (await first).status_code == 200
        assert (await http.post(path, json={"prompt": "a"})).status_code == 200


@pytest.mark.parametrize("path", ["/format_input", "/v1/create_sample", "/release_task"])
async def test_large_bodies_are_translated_beside_the_event_loop(
    http: httpx.AsyncClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    translate = RequestMapper.__call__

    def noted(mapper: RequestMapper, *arguments: Any, **options: Any) -> Mapped:
        threads.append(threading.current_thread().name)
        return translate(mapper, *arguments, **options)

    monkeypatch.setattr(RequestMapper, "__call__", noted)
    for size in (10, INLINE_BYTES):
        answer = await http.post(path, json={"prompt": "a", "query": "a", "lyrics": "x" * size})
        assert answer.status_code == 200
    small, large = threads
    assert small == threading.current_thread().name
    assert large.startswith("bodies")


async def test_formatting_leaves_empty_lyrics_empty(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    fields = {"bpm": 90, "key": "D minor", "time_signature": "3/4", "duration": 7}
    service.words = SongWords("a better song", INSTRUMENTAL, "en")
    for lyrics, meant in (("", ""), (INSTRUMENTAL, INSTRUMENTAL)):
        sent = {"prompt": "a song", "lyrics": lyrics, "param_obj": fields}
        song = await told(http, "/format_input", "POST", json=sent)
        assert (song["caption"], song["lyrics"], song["bpm"]) == ("a better song", meant, 90)
