"""Every form of body expresses the same request (contract §1.1)."""

import json
from typing import Any

import httpx
import pytest

from serve_app.api.intake.parsing import SPELLINGS
from serve_app.request.schemas import GenerateRequest
from tests.unit.api.conftest import LocalJobService

GENERATE = "/v1/music/generate"
FORM = "application/x-www-form-urlencoded"
SONG = b'{"caption": "caf\xc3\xa9 \xf0\x9f\x8e\xb5", "bpm": "120", "thinking": "Yes"}'
FIELDS = {"caption": "café 🎵", "bpm": "120", "thinking": "Yes"}
RAW_FORM = "caption=café 🎵&bpm=120&thinking=Yes".encode()


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share one application."""
    return shared_http


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("application/json", SONG),
        ("application/json; charset=utf-8", SONG),
        ("Application/JSON", b"\xef\xbb\xbf" + SONG),
        ("application/vnd.song+json", SONG),
        ("application/ld+json;profile=x", SONG),
        (FORM, SONG),
        (FORM + "; charset=utf-8", b"\n  " + SONG),
        (FORM, RAW_FORM),
        (FORM, b"caption=caf%C3%A9+%F0%9F%8E%B5&bpm=120&thinking=Yes"),
        ("text/plain", SONG),
        ("nonsense", SONG),
        (None, b"\r\n" + SONG),
    ],
)
async def test_text_bodies(
    http: httpx.AsyncClient, service: LocalJobService, content_type: str | None, content: bytes
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = await http.post(GENERATE, content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"job_id": service.jobs[0].job_id, "status": "queued", "queue_position": 1}
    request = service.last.request
    assert (request.caption, request.bpm, request.thinking) == ("café 🎵", 120, True)


async def test_multipart_without_files(http: httpx.AsyncClient, service: LocalJobService) -> None:
    parts = {name: (None, text) for name, text in FIELDS.items()}
    answer = await http.post(GENERATE, files=parts)
    assert answer.status_code == 200, answer.text
    request = service.last.request
    assert (request.caption, request.bpm, request.thinking) == ("café 🎵", 120, True)


async def test_an_empty_form_asks_for_all_defaults(http: httpx.AsyncClient, service: LocalJobService) -> None:
    answer = await http.post(GENERATE, content=b"", headers={"Content-Type": FORM})
    assert answer.status_code == 200
    assert service.last.request.model_dump(exclude={"batch_size", "lm_model_path"}) == (
        GenerateRequest().model_dump(exclude={"batch_size", "lm_model_path"})
    )


ONE_OF_EACH: dict[str, Any] = {
    "caption": "a",
    "lyrics": "la",
    "thinking": True,
    "vocal_language": "zh",
    "audio_format": "wav",
    "bpm": 30,
    "key_scale": "F♯ minor",
    "time_signature": "6/8",
    "audio_duration": 12.5,
    "sample_mode": True,
    "sample_query": "a waltz",
    "use_format": True,
    "use_cot_caption": True,
    "use_cot_language": False,
    "output": "songs",
    "audio_code_string": "1,2,3",
    "inference_steps": 200,
    "guidance_scale": 0.0,
    "retake_variance": 0.5,
    "retake_seed": (4,),
    "use_random_seed": False,
    "seed": (0,),
    "batch_size": 1,
    "model": "acestep-v15-turbo",
    "lm_model_path": "acestep-5Hz-lm-0.6B",
    "lm_backend": "pt",
    "lm_temperature": 0.0,
    "lm_cfg_scale": 1.0,
    "lm_negative_prompt": "noise",
    "lm_top_k": 0,
    "lm_top_p": 0.5,
    "lm_repetition_penalty": 1.1,
    "reference_audio_path": None,
    "src_audio_path": None,
    "allow_silent_source": True,
    "task_type": "text2music",
    "instruction": "Play it.",
    "repainting_start": -0.5,
    "repainting_end": 0.0,
    "audio_cover_strength": 0.0,
    "lm_guide_metadata": True,
    "shift": 2.5,
    "timesteps": (1.0, 0.5),
    "sampling": "2026-01",
    "infer_method": "sde",
    "sampler_mode": "heun",
    "velocity_norm_threshold": 2.0,
    "velocity_ema_factor": 0.1,
    "dcw_enabled": False,
    "dcw_mode": "pix",
    "dcw_scaler": 0.0,
    "dcw_high_scaler": 1.0,
    "dcw_wavelet": "db8",
    "latent_rescale": 0.5,
    "latent_shift": -0.5,
    "lyric_timestamps": True,
    "use_adg": True,
    "cfg_interval_start": 0.25,
    "cfg_interval_end": 0.75,
    "cover_noise_strength": 0.5,
    "repaint_mode": "conservative",
    "repaint_strength": 0.25,
    "chunk_mask_mode": "explicit",
    "cover_nofsq": True,
    "global_caption": "a band",
    "track_name": "backing_vocals",
    "track_classes": ("drums", "bass"),
    "flow_edit_morph": False,
    "flow_edit_source_caption": "a march",
    "flow_edit_source_lyrics": "left, right",
    "flow_edit_n_min": 0.25,
    "flow_edit_n_max": 0.75,
    "flow_edit_n_avg": 2,
    "enable_normalization": False,
    "normalization_db": -3.0,
    "fade_in_duration": 0.5,
    "fade_out_duration": 2.0,
    "embed_request": True,
    "callback_url": "https://example.com/hook",
    "callback_events": ("started", "finished"),
    "priority": 0,
    "start_within_seconds": 60.0,
    "keep_seconds": 3600.0,
}
AS_SENT = {
    "seed": 0,
    "retake_seed": 4,
    "timesteps": "1,0.5",
    "track_classes": "drums,bass",
    "callback_events": "started,finished",
}
"""Texts and numbers that stand for several values."""


def _as_sent(name: str) -> Any:
    return AS_SENT.get(name, ONE_OF_EACH[name])


def test_the_table_has_every_field() -> None:
    # Adapters need a server that has some (test_adapters.py).
    assert set(ONE_OF_EACH) == set(GenerateRequest.model_fields) - {"adapters"}


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        (name, spelling)
        for name, value in ONE_OF_EACH.items()
        if value is not None and name != "audio_code_string"
        for spelling in SPELLINGS[name]
    ],
)
async def test_every_spelling_of_every_field(
    http: httpx.AsyncClient, service: LocalJobService, name: str, spelling: str
) -> None:
    sent = {spelling: _as_sent(name), "batch_size": 1}
    as_json = await http.post(GENERATE, json=sent)
    as_form = await http.post(GENERATE, data=sent)
    as_multipart = await http.post(GENERATE, files={key: (None, str(sent[key])) for key in sent})
    assert [answer.status_code for answer in (as_json, as_form, as_multipart)] == [200] * 3
    assert [getattr(job.spec.request, name) for job in service.jobs] == [ONE_OF_EACH[name]] * 3


@pytest.mark.parametrize(
    ("name", "parts", "value"),
    [
        ("timesteps", ["1", "0.5"], (1.0, 0.5)),
        ("timesteps", ["[1, 0.5, 0]"], (1.0, 0.5, 0.0)),
        ("trackClasses", ["drums", "Backing Vocals"], ("drums", "backing_vocals")),
        ("track_classes", ['["fx"]'], ("fx",)),
    ],
)
async def test_arrays_in_forms(
    http: httpx.AsyncClient, service: LocalJobService, name: str, parts: list[str], value: Any
) -> None:
    answer = await http.post(GENERATE, data={name: parts})
    assert answer.status_code == 200, answer.text
    request = service.last.request
    assert value in (request.timesteps, request.track_classes)


@pytest.mark.parametrize("spelling", SPELLINGS["audio_code_string"])
async def test_every_spelling_of_audio_codes(
    http: httpx.AsyncClient, service: LocalJobService, spelling: str
) -> None:
    sent = {spelling: "1,2,3", "thinking": "true", "batch_size": "1"}
    await http.post(GENERATE, json=sent)
    await http.post(GENERATE, data=sent)
    await http.post(GENERATE, files={key: (None, text) for key, text in sent.items()})
    assert [job.spec.codes for job in service.jobs] == [((1, 2, 3),)] * 3


def test_the_spellings_that_the_contract_names() -> None:
    assert SPELLINGS["audio_duration"] == (
        "audio_duration", "audioDuration", "duration", "target_duration", "targetDuration",
    )  # fmt: skip
    assert SPELLINGS["key_scale"] == ("key_scale", "keyScale", "keyscale", "key")
    assert SPELLINGS["time_signature"] == ("time_signature", "timeSignature", "timesignature")
    assert SPELLINGS["caption"] == ("caption", "prompt")
    assert SPELLINGS["audio_code_string"][2:] == ("audio_codes", "audioCodes")
    assert SPELLINGS["src_audio"] == ("src_audio", "srcAudio")


@pytest.mark.parametrize(
    ("body", "bpm", "duration"),
    [
        ({"metas": {"bpm": 90, "duration": 8}}, 90, 8.0),
        ({"metadata": {"bpm": "90"}}, 90, None),
        ({"user_metadata": {"audioDuration": 7}}, None, 7.0),
        ({"userMetadata": '{"bpm": 91}'}, 91, None),
        ({"metas": {"bpm": 90}, "bpm": 72}, 72, None),
        ({"metas": {"bpm": 90}, "bpm": None}, 90, None),
        ({"metas": {"bpm": 90}, "metadata": {"bpm": 91, "duration": 5}}, 90, 5.0),
        ({"metas": {"bpm": "", "genres": "pop"}, "bpm": ""}, None, None),
        ({"metas": None, "duration": "", "target_duration": 6}, None, 6.0),
        ({"audio_duration": 5, "duration": 6}, None, 5.0),
    ],
)
async def test_nested_metadata_and_precedence(
    http: httpx.AsyncClient, service: LocalJobService, body: dict[str, Any], bpm: int | None, duration: float
) -> None:
    answer = await http.post(GENERATE, json=body)
    assert answer.status_code == 200, answer.text
    assert (service.last.request.bpm, service.last.request.audio_duration) == (bpm, duration)


async def test_nested_metadata_in_a_form(http: httpx.AsyncClient, service: LocalJobService) -> None:
    await http.post(GENERATE, data={"metas": json.dumps({"bpm": 90, "keyscale": "Bbm"}), "bpm": ""})
    assert (service.last.request.bpm, service.last.request.key_scale) == (90, "Bbm")


@pytest.mark.parametrize("name", sorted(GenerateRequest.model_fields))
async def test_null_and_the_empty_text_are_not_given(
    http: httpx.AsyncClient, service: LocalJobService, name: str
) -> None:
    for nothing in (None, ""):
        answer = await http.post(GENERATE, json={name: nothing})
        assert answer.status_code == 200, answer.text
    assert service.jobs[0].spec.request == service.jobs[1].spec.request
    settled = {"batch_size": 2, "lm_model_path": "acestep-5Hz-lm-0.6B"}
    default = settled.get(name, GenerateRequest.model_fields[name].default)
    assert getattr(service.last.request, name) == default


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b'{"audio_code_string": ["1,2", "<|audio_code_3|>"], "thinking": true}', "application/json"),
        (b'{"audio_code_string": [[1, 2], [3]], "thinking": true}', "application/json"),
        (b"audio_code_string=1,2&audio_code_string=3&thinking=on", FORM),
        (b'audio_codes=["1,2", "3"]&thinking=1', FORM),
        (b"audio_code_string=[1,2]&audio_code_string=[3]&thinking=TRUE", FORM),
    ],
)
async def test_arrays(
    http: httpx.AsyncClient, service: LocalJobService, content: bytes, content_type: str
) -> None:
    answer = await http.post(GENERATE, content=content, headers={"Content-Type": content_type})
    assert answer.status_code == 200, answer.text
    assert service.last.codes == ((1, 2), (3,))


@pytest.mark.parametrize("twice", [b'{"bpm": 90, "bpm": 91}', b"bpm=90&bpm=91"])
async def test_a_field_sent_twice_counts_as_sent_last(
    http: httpx.AsyncClient, service: LocalJobService, twice: bytes
) -> None:
    await http.post(GENERATE, content=twice, headers={"Content-Type": FORM})
    assert service.last.request.bpm == 91


@pytest.mark.parametrize(
    ("unknown", "location"),
    [
        ({"captoin": "a"}, ["body", "captoin"]),
        ({"metas": {"bmp": 90}}, ["body", "metas", "bmp"]),
        ({"\ud800": 1}, ["body", "\ud800"]),
    ],
)
async def test_unknown_fields_are_ignored_unless_strict(
    http: httpx.AsyncClient, unknown: dict[str, Any], location: list[str]
) -> None:
    body = {
        "content": json.dumps({**unknown, "prompt": "a"}),
        "headers": {"Content-Type": "application/json"},
    }
    assert (await http.post(GENERATE, **body)).status_code == 200
    body["headers"]["X-Strict"] = "1"
    answer = await http.post(GENERATE, **body)
    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["detail"]] == [location]


async def test_strict_takes_every_known_spelling(http: httpx.AsyncClient) -> None:
    sent = {spelling: "" for spellings in SPELLINGS.values() for spelling in spellings}
    answer = await http.post(GENERATE, json={**sent, "userMetadata": {}}, headers={"X-Strict": "1"})
    assert answer.status_code == 200, answer.text


async def test_all_invalid_fields_are_named_at_once(http: httpx.AsyncClient) -> None:
    answer = await http.post(GENERATE, json={"bpm": 5, "seed": "x", "audio_code_string": [0]})
    assert {error["loc"][1] for error in answer.json()["detail"]} == {"bpm", "seed", "audio_code_string"}
    assert all(set(error) == {"loc", "msg", "type"} for error in answer.json()["detail"])


@pytest.mark.parametrize(
    ("field", "choices"),
    [
        ("audio_format", "mp3, wav, flac"),
        ("lm_model_path", "acestep-5Hz-lm-0.6B"),
        ("lm_backend", "vllm, pt"),
        ("task_type", "text2music, cover, repaint:"),
    ],
)
async def test_a_wrong_choice_is_answered_with_the_choices_of_this_server(
    http: httpx.AsyncClient, field: str, choices: str
) -> None:
    answer = await http.post(GENERATE, json={field: "other"})
    (error,) = answer.json()["detail"]
    assert error["loc"] == ["body", field]
    assert choices in error["msg"]
