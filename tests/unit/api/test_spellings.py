"""Values and names in the spellings of other programs (contract §1.1)."""

import json
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from serve_app.request.schemas import GenerateRequest
from tests.unit.api.conftest import LocalJobService, wav_bytes

GENERATE = "/v1/music/generate"
CUT = {"Content-Type": "multipart/form-data; boundary=cut"}
WHOLE_NUMBERS: dict[str, Any] = {
    "bpm": 120,
    "inference_steps": 8,
    "seed": (42,),
    "batch_size": 2,
    "lm_top_k": 50,
    "priority": 0,
    "time_signature": "4",
    "retake_seed": (7,),
    "flow_edit_n_avg": 2,
}
"""Every field that takes whole numbers."""


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share one application."""
    return shared_http


def as_float(value: Any) -> float:
    return float(value[0] if isinstance(value, tuple) else value)


@pytest.mark.parametrize("name", WHOLE_NUMBERS)
def test_whole_numbers_may_be_written_as_floats(name: str) -> None:
    sent = as_float(WHOLE_NUMBERS[name])
    assert getattr(GenerateRequest(**{name: sent}), name) == WHOLE_NUMBERS[name]
    assert getattr(GenerateRequest(**{name: str(sent)}), name) == WHOLE_NUMBERS[name]
    for broken in (sent + 0.5, str(sent + 0.5), True):
        with pytest.raises(ValidationError):
            GenerateRequest(**{name: broken})


def test_all_fields_of_whole_numbers_are_in_the_table() -> None:
    properties = GenerateRequest.model_json_schema()["properties"]
    found = {
        name
        for name, field in properties.items()
        if any(option.get("type") == "integer" for option in field.get("anyOf", [field]))
    }
    assert found <= WHOLE_NUMBERS.keys()


@pytest.mark.parametrize(
    ("field", "given", "value"),
    [
        ("seed", "1.0, 2,-1.0", (1, 2, -1)),
        ("seed", 4294967295.0, (2**32 - 1,)),
        ("thinking", 1.0, True),
        ("thinking", 0.0, False),
        ("audio_code_string", [[1.0, 2.0]], ("1,2",)),
        ("repainting_start", "1", 1.0),
    ],
)
def test_other_numbers(field: str, given: Any, value: Any) -> None:
    assert getattr(GenerateRequest(**{field: given}), field) == value


@pytest.mark.parametrize("value", [-1e308, "1e999", "-1e999", "nan", "inf", -(10**400), "9" * 5_000])
@pytest.mark.parametrize(
    "name", ["bpm", "seed", "batch_size", "inference_steps", "lm_top_k", "audio_duration", "guidance_scale"]
)
def test_numbers_out_of_all_bounds(name: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        GenerateRequest(**{name: value})


@pytest.mark.parametrize("unknown", ["N/A", "n/a", "auto", "AUTO", "none", "Null", " auto "])
@pytest.mark.parametrize("field", ["bpm", "key_scale", "time_signature", "audio_duration", "vocal_language"])
async def test_facts_that_are_not_known_are_not_given(
    http: httpx.AsyncClient, service: LocalJobService, field: str, unknown: str
) -> None:
    for sent in ({"json": {field: unknown}}, {"data": {field: unknown}}):
        answer = await http.post(GENERATE, **sent)
        assert answer.status_code == 200, answer.text
        assert getattr(service.last.request, field) == GenerateRequest.model_fields[field].default


async def test_an_unknown_fact_hides_no_known_one(http: httpx.AsyncClient, service: LocalJobService) -> None:
    await http.post(GENERATE, json={"bpm": "auto", "metas": {"bpm": 90, "keyscale": "N/A"}, "key": "C Major"})
    assert (service.last.request.bpm, service.last.request.key_scale) == (90, "C Major")


async def test_other_fields_may_say_none(http: httpx.AsyncClient, service: LocalJobService) -> None:
    await http.post(GENERATE, json={"caption": "auto", "lyrics": "none"})
    assert (service.last.request.caption, service.last.request.lyrics) == ("auto", "none")


@pytest.mark.parametrize(
    "body",
    [{"key": "D Dorian"}, {"metas": {"key": "D Dorian"}}, {"user_metadata": json.dumps({"key": "D Dorian"})}],
)
async def test_the_key_of_a_song(
    http: httpx.AsyncClient, service: LocalJobService, body: dict[str, Any]
) -> None:
    answer = await http.post(GENERATE, json=body, headers={"X-Strict": "1"})
    assert answer.status_code == 200, answer.text
    assert service.last.request.key_scale == "D Dorian"


@pytest.mark.parametrize(
    "disposition",
    [
        b"form-data; name=\"src_audio\"; filename*=utf-8''caf%C3%A9.wav",
        b"form-data; name=src_audio; FileName*=utf-8''a.wav",
        b'form-data; name="src_audio"; filename="a.wav"; filename*=utf-8\'\'b.wav',
        b'form-data; name="src_audio"; filename="' + b"x" * 5_000 + b'.wav"',
        'form-data; name="src_audio"; filename="Größe 🎵.wav"'.encode(),
        b'form-data; name="src_audio"; filename=""',
    ],
)
async def test_files_by_every_way_to_name_them(
    http: httpx.AsyncClient, service: LocalJobService, disposition: bytes
) -> None:
    task = b'--cut\r\nContent-Disposition: form-data; name="task_type"\r\n\r\ncover\r\n'
    content = b"--cut\r\nContent-Disposition: " + disposition + b"\r\n\r\n" + wav_bytes() + b"\r\n--cut--\r\n"
    answer = await http.post(GENERATE, content=task + content, headers=CUT)
    assert answer.status_code == 200, answer.text
    assert service.last.source.seconds == pytest.approx(2.0)


async def test_a_text_that_speaks_of_files_is_a_text(http: httpx.AsyncClient) -> None:
    disposition = b'form-data; x="; filename*=a"; name="src_audio"'
    content = b"--cut\r\nContent-Disposition: " + disposition + b"\r\n\r\nsong\r\n--cut--\r\n"
    answer = await http.post(GENERATE, content=content, headers=CUT)
    assert answer.status_code == 422
    assert "should be a file" in answer.text


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_load_balancers_may_ask_with_head(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
