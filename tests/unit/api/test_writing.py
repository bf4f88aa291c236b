"""Songs that are written at once, and jobs that describe recordings (contract §3)."""

from typing import Any

import httpx
import pytest

from configs.domain import INSTRUMENTAL
from deployments.common.messages import Metadata
from serve_app.request.schemas import Output
from serve_app.request.song_plan import SongWords
from tests.unit.api.conftest import LocalJobService, wav_bytes

SAMPLE, FORMAT, UNDERSTAND = (f"/v1/music/{name}" for name in ("sample", "format", "understand"))
WRITTEN = SongWords("a caption", "some lyrics", "fr")


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share one application."""
    return shared_http


@pytest.mark.parametrize("kind", ["json", "data"])
async def test_a_sentence_becomes_a_song_as_text(
    http: httpx.AsyncClient, service: LocalJobService, kind: str
) -> None:
    service.words = WRITTEN
    body: Any = {"query": "a sad waltz", "vocalLanguage": "fr", "bpm": 100}
    answer = await http.post(SAMPLE, **{kind: body})
    assert answer.status_code == 200
    assert answer.json() == {
        "caption": "a caption",
        "lyrics": "some lyrics",
        "vocal_language": "fr",
        "bpm": 100,
        "key_scale": "A minor",
        "time_signature": "3",
        "audio_duration": 25.0,
        "genres": None,
        "lm_model": "acestep-5Hz-lm-0.6B",
        "notes": ["A note."],
    }
    (draft,) = service.planned
    request = draft.spec.request
    assert (request.sample_mode, request.sample_query, request.vocal_language) == (True, "a sad waltz", "fr")
    assert draft.given == Metadata(bpm=100)
    assert service.jobs == []


@pytest.mark.parametrize("instrumental", [True, "true", "1"])
async def test_a_sample_may_be_instrumental(
    http: httpx.AsyncClient, service: LocalJobService, instrumental: Any
) -> None:
    answer = await http.post(SAMPLE, json={"query": "a waltz", "instrumental": instrumental})
    assert answer.status_code == 200
    assert service.planned[0].spec.request.lyrics == INSTRUMENTAL


async def test_a_sample_needs_no_query(http: httpx.AsyncClient, service: LocalJobService) -> None:
    assert (await http.post(SAMPLE, json={})).status_code == 200
    assert service.planned[0].spec.request.sample_mode


async def test_words_are_rewritten_and_what_is_given_comes_back(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    service.words = WRITTEN
    given = {"bpm": 72, "key_scale": "D dorian", "time_signature": "5/4", "audio_duration": 12.5}
    answer = await http.post(FORMAT, json={"caption": "pop", "lyrics": "la", "vocal_language": "fr", **given})
    assert {**answer.json(), **given} == answer.json()
    request = service.planned[0].spec.request
    assert (request.use_format, request.sample_mode, request.caption) == (True, False, "pop")
    assert not request.use_cot_language  # the given language is kept


async def test_the_language_of_words_to_rewrite_is_open_where_none_is_given(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    await http.post(FORMAT, json={"caption": "pop"})
    assert service.planned[0].spec.request.use_cot_language


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (SAMPLE, {"query": ["a"]}, "query"),
        (SAMPLE, {"query": "x" * 2049}, "query"),
        (SAMPLE, {"instrumental": "perhaps"}, "instrumental"),
        (SAMPLE, {"vocal_language": "klingon"}, "vocal_language"),
        (FORMAT, {"bpm": 5}, "bpm"),
        (FORMAT, {"caption": {"a": 1}}, "caption"),
        (FORMAT, {"lm_model_path": "gpt"}, "lm_model_path"),
    ],
)
async def test_a_bad_value_is_named(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], field: str
) -> None:
    answer = await http.post(path, json=body)
    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["detail"]] == [["body", field]]


async def test_an_unknown_field_is_refused_only_if_asked_for(http: httpx.AsyncClient) -> None:
    assert (await http.post(SAMPLE, json={"query": "a", "mood": "sad"})).status_code == 200
    strict = await http.post(SAMPLE, json={"query": "a", "mood": "sad"}, headers={"X-Strict": "1"})
    assert strict.status_code == 422
    known = await http.post(SAMPLE, json={"query": "a", "instrumental": True}, headers={"X-Strict": "1"})
    assert known.status_code == 200


async def test_texts_that_do_not_fit_the_lm_are_refused(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    service.long_prompts_fit = False
    answer = await http.post(FORMAT, json={"lyrics": "♫ " * 8_000})
    assert answer.status_code == 422
    assert service.planned == []


@pytest.mark.parametrize("name", ["src_audio", "audio", "file"])
async def test_an_uploaded_recording_becomes_a_job_that_describes_it(
    http: httpx.AsyncClient, service: LocalJobService, name: str
) -> None:
    answer = await http.post(UNDERSTAND, data={"bpm": "100"}, files={name: ("a.wav", wav_bytes())})
    assert answer.status_code == 200
    assert answer.json()["status"] == "queued"
    spec = service.last
    assert (spec.request.output, spec.request.bpm, len(spec.seeds)) == (Output.DESCRIPTION, 100, 1)
    assert spec.source is not None
    assert spec.source.seconds == 2.0
    assert service.jobs[-1].work.calls == (1.0, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("body", [{}, {"src_audio_path": "/etc/passwd"}])
async def test_a_description_needs_a_recording(http: httpx.AsyncClient, body: dict[str, str]) -> None:
    answer = await http.post(UNDERSTAND, json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][1].startswith("src_audio")
