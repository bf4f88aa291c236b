"""`/release_task`: every field under each of its names, in each form of body, and what it means here."""

import json
from typing import Any

import httpx
import pytest

from configs.domain import INSTRUMENTAL
from configs.settings import Settings
from serve_app.api.intake.submission import Submission
from serve_app.api.release_task.fields import FREE_TEXT, NAMES, REQUEST_FIELDS
from serve_app.request.schemas import GenerateRequest, Output
from tests.unit.api.conftest import LocalJobService, wav_bytes
from tests.unit.api.release_task.conftest import Submit, notes_of
from tests.unit.api.shared_app import SharedApp

CODES = "<|audio_code_5|><|audio_code_6|>"
VALUES: dict[str, tuple[Any, Any]] = {
    "caption": ("a song", "a song"),
    "lyrics": ("la la", "la la"),
    "thinking": ("true", True),
    "vocal_language": ("de", "de"),
    "audio_format": ("flac", "flac"),
    "bpm": ("120", 120),
    "key_scale": ("C Major", "C Major"),
    "time_signature": ("3/4", "3/4"),
    "audio_duration": ("7.5", 7.5),
    "sample_mode": ("1", True),
    "sample_query": ("a quiet song", "a quiet song"),
    "use_format": ("on", True),
    "use_cot_caption": ("false", False),
    "use_cot_language": ("0", False),
    "inference_steps": ("6", 6),
    "guidance_scale": ("3.5", 3.5),
    "retake_variance": ("0.5", 0.5),
    "retake_seed": ("43", (43,)),
    "use_random_seed": ("false", False),
    "seed": ("42", (42,)),
    "batch_size": ("3", 3),
    "model": ("acestep-v15-turbo", "acestep-v15-turbo"),
    "lm_model_path": ("acestep-5Hz-lm-0.6B", "acestep-5Hz-lm-0.6B"),
    "lm_backend": ("pt", "pt"),
    "lm_temperature": ("0.5", 0.5),
    "lm_cfg_scale": ("3", 3.0),
    "lm_guide_metadata": ("true", True),
    "lm_negative_prompt": ("noise", "noise"),
    "lm_top_k": ("40", 40),
    "lm_top_p": ("0.5", 0.5),
    "lm_repetition_penalty": ("1.5", 1.5),
    "instruction": ("Sing:", "Sing:"),
    "repainting_start": ("1.5", 1.5),
    "repainting_end": ("2.5", 2.5),
    "audio_cover_strength": ("0.5", 0.5),
    "shift": ("2", 2.0),
    "timesteps": ("[1, 0.5]", (1.0, 0.5)),
    "sampling": ("2026-01", "2026-01"),
    "infer_method": ("sde", "sde"),
    "sampler_mode": ("heun", "heun"),
    "velocity_norm_threshold": ("2", 2.0),
    "velocity_ema_factor": ("0.1", 0.1),
    "dcw_enabled": ("false", False),
    "dcw_mode": ("low", "low"),
    "dcw_scaler": ("0.02", 0.02),
    "dcw_high_scaler": ("0.06", 0.06),
    "dcw_wavelet": ("db4", "db4"),
    "latent_rescale": ("0.9", 0.9),
    "latent_shift": ("-0.1", -0.1),
    "lyric_timestamps": ("true", True),
    "use_adg": ("true", True),
    "cfg_interval_start": ("0.25", 0.25),
    "cfg_interval_end": ("0.75", 0.75),
    "cover_noise_strength": ("0.5", 0.5),
    "repaint_mode": ("aggressive", "aggressive"),
    "repaint_strength": ("0.75", 0.75),
    "chunk_mask_mode": ("explicit", "explicit"),
    "cover_nofsq": ("true", True),
    "global_caption": ("the whole song", "the whole song"),
    "track_name": ("drums", "drums"),
    "track_classes": ("drums,bass", ("drums", "bass")),
    "flow_edit_morph": ("false", False),
    "flow_edit_source_caption": ("a march", "a march"),
    "flow_edit_source_lyrics": ("none", "none"),
    "flow_edit_n_min": ("0.25", 0.25),
    "flow_edit_n_max": ("0.75", 0.75),
    "flow_edit_n_avg": ("2", 2),
    "enable_normalization": ("false", False),
    "normalization_db": ("-3", -3.0),
    "fade_in_duration": ("0.5", 0.5),
    "fade_out_duration": ("2", 2.0),
    "embed_request": ("true", True),
    "callback_url": ("https://example.com/done", "https://example.com/done"),
    "callback_events": ("started, progress", ("started", "progress")),
    "start_within_seconds": ("60", 60.0),
    "keep_seconds": ("3600", 3600.0),
}
"""A value of each field as a form sends it, and what it becomes."""
ELSEWHERE = {
    "audio_code_string",
    "task_type",
    "src_audio_path",
    "reference_audio_path",
    "adapters",
    "allow_silent_source",
    "priority",
}
"""Fields with a test of their own; the last two are the server's own or need a key."""


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share one application."""
    return shared_http


def camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def test_the_table_has_every_field() -> None:
    assert set(VALUES) | ELSEWHERE == set(REQUEST_FIELDS)


@pytest.mark.parametrize("name", VALUES)
async def test_each_name_of_a_field(submit: Submit, name: str) -> None:
    sent, meant = VALUES[name]
    for spelling in NAMES.get(name, (name,)):
        for written in {spelling, camel_case(spelling)}:
            assert getattr((await submit({written: sent})).request, name) == meant, written
    of_json = list(meant) if isinstance(meant, tuple) else meant
    assert getattr((await submit({name: of_json})).request, name) == meant
    assert getattr((await submit(data={name: sent})).request, name) == meant


@pytest.mark.parametrize(
    "place", ["param_obj", "paramObj", "metas", "meta", "metadata", "user_metadata", "userMetadata"]
)
@pytest.mark.parametrize("form", [lambda fields: fields, json.dumps])
async def test_objects_hold_any_field(submit: Submit, place: str, form: Any) -> None:
    spec = await submit(
        {"caption": None, "bpm": "", place: form({"prompt": "inside", "bpm": 90, "shift": 2})}
    )
    assert (spec.request.caption, spec.request.bpm, spec.request.shift) == ("inside", 90, 2.0)


async def test_the_top_level_comes_first_then_param_obj_then_the_first_object(submit: Submit) -> None:
    spec = await submit(
        {
            "bpm": 60,
            "param_obj": {"bpm": 70, "key": "D minor"},
            "meta": {"key": "A major", "duration": 5, "lyrics": "la"},
            "metadata": {"shift": 2},
        }
    )
    request = spec.request
    assert (request.bpm, request.key_scale, request.audio_duration, request.lyrics) == (
        60,
        "D minor",
        5.0,
        "la",
    )
    assert request.shift is None


@pytest.mark.parametrize("unreadable", ["{", "[1]", 5, [1], "nothing"])
async def test_an_unreadable_object_is_ignored(submit: Submit, unreadable: Any) -> None:
    spec = await submit({"param_obj": unreadable, "metas": unreadable, "meta": {"bpm": 70}})
    assert spec.request.bpm == 70


@pytest.mark.parametrize("word", ["null", "None", "undefined", "", None])
async def test_words_for_nothing(submit: Submit, word: Any) -> None:
    names = set(VALUES) - FREE_TEXT
    spec = await submit(dict.fromkeys(names, word))
    plain = await submit({})
    assert spec.request == plain.request
    assert spec.notes == plain.notes == ()


async def test_words_for_nothing_are_words_in_texts(submit: Submit) -> None:
    spec = await submit({"prompt": "none", "lyrics": "undefined"})
    assert (spec.request.caption, spec.request.lyrics) == ("none", "undefined")


@pytest.mark.parametrize("word", ["N/A", "n/a", "auto"])
async def test_an_unknown_fact_is_not_given(submit: Submit, word: str) -> None:
    spec = await submit({"bpm": word, "keyscale": word, "timesignature": word, "duration": word})
    assert spec.request == (await submit({})).request
    assert spec.notes == ()


async def test_defaults_of_this_api(submit: Submit) -> None:
    request = (await submit({})).request
    plain = GenerateRequest()
    assert (request.lm_cfg_scale, request.use_cot_caption, request.use_cot_language) == (2.5, True, True)
    assert (request.caption, request.thinking, request.vocal_language, request.audio_format) == (
        "",
        False,
        "en",
        "mp3",
    )
    assert (request.inference_steps, request.guidance_scale, request.shift, request.batch_size) == (
        8,
        7.0,
        None,
        2,
    )
    assert (request.lm_temperature, request.lm_top_p) == (plain.lm_temperature, plain.lm_top_p)


BODIES: list[dict[str, Any]] = [
    {"json": {"prompt": "a song"}},
    {"content": '{"prompt": "a song"}', "headers": {"Content-Type": "application/json; charset=utf-8"}},
    {"content": '{"prompt": "a song"}', "headers": {"Content-Type": "application/vnd.song+json"}},
    {"content": '{"prompt": "a song"}', "headers": {"Content-Type": "text/plain"}},
    {"content": '{"prompt": "a song"}'},
    {"content": '{"prompt": "a song"}', "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
    {"content": "prompt=a+song"},
    {"content": "prompt=a+song", "headers": {"Content-Type": "text/plain"}},
    {"data": {"prompt": "a song"}},
    {"files": {"prompt": (None, "a song")}},
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=str)
async def test_each_form_of_body(submit: Submit, body: dict[str, Any]) -> None:
    assert (await submit(**body)).request.caption == "a song"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 415),
        ({"content": "[1]"}, 415),
        ({"content": "a song"}, 415),
        ({"content": "{", "headers": {"Content-Type": "application/json"}}, 400),
        ({"content": "[]", "headers": {"Content-Type": "application/json"}}, 400),
        ({"content": "--x", "headers": {"Content-Type": "multipart/form-data; boundary=cut"}}, 400),
        ({"json": {"prompt": {"text": "a song"}}}, 422),
    ],
)
async def test_bodies_that_are_none(
    http: httpx.AsyncClient, service: LocalJobService, body: Any, status: int
) -> None:
    answer = await http.post("/release_task", **body)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["data"]) == (status, status, None)
    assert problem["error"] == problem["detail"]
    assert isinstance(problem["detail"], str)
    assert service.jobs == []


@pytest.mark.parametrize("content", ["{}", '{"ai_token": "K"}'])
async def test_an_empty_object_needs_no_type(submit: Submit, content: str) -> None:
    assert (await submit(content=content)).request == (await submit({})).request


async def test_an_empty_body_of_a_known_type_asks_for_all_defaults(submit: Submit) -> None:
    spec = await submit(content=b"", headers={"Content-Type": "application/json"})
    assert spec.request == (await submit({})).request


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (["drums", "bass"], ("drums", "bass")),
        ('["drums", "bass"]', ("drums", "bass")),
        ("drums, bass", ("drums", "bass")),
    ],
)
async def test_arrays_in_forms(submit: Submit, sent: Any, meant: Any) -> None:
    spec = await submit(data={"track_classes": sent})
    assert spec.request.track_classes == meant


async def test_arrays_in_forms_under_each_of_their_names(submit: Submit) -> None:
    for name in ("instruments", "trackClasses", "completeTrackClasses"):
        spec = await submit(data={name: ["drums", "bass"]})
        assert spec.request.track_classes == ("drums", "bass"), name
    for name in ("audio_codes", "audioCodeString"):
        assert (await submit(data={name: [CODES, "7"]})).codes == ((5, 6), (7,)), name
    assert (await submit(data={"custom_timesteps": ["1", "0.5"]})).request.timesteps == (1.0, 0.5)


@pytest.mark.parametrize("sent", [["1", "2"], "[1, 2]", "1,2"])
async def test_seeds_in_forms(submit: Submit, sent: Any) -> None:
    spec = await submit(data={"seed": sent, "use_random_seed": "false"})
    assert spec.seeds == (1, 2)


async def test_unknown_fields_are_ignored_unless_strict(http: httpx.AsyncClient, submit: Submit) -> None:
    await submit({"colour": "blue", "metas": {"mood": "sad"}})
    answer = await http.post("/release_task", json={"colour": "blue"}, headers={"X-Strict": "1"})
    assert (answer.status_code, answer.json()["detail"]) == (422, "colour: There is no such field")


async def test_strictness_is_that_of_the_job_api(http: httpx.AsyncClient) -> None:
    bad = {"bpm": 500, "seed": -5, "vocal_language": "English"}
    answer = await http.post("/release_task", json=bad, headers={"X-Strict": "1"})
    assert answer.status_code == 422
    assert all(f"{name}: " in answer.json()["detail"] for name in bad)
    good = await http.post(
        "/release_task", json={"prompt": "a", "dcw_enabled": True}, headers={"X-Strict": "1"}
    )
    assert good.status_code == 200


# Fields with another meaning than in the job API


async def test_the_global_caption_stands_in_for_the_prompt(submit: Submit) -> None:
    assert (await submit({"global_caption": "all of it"})).request.caption == "all of it"
    assert (await submit({"global_caption": "all of it", "prompt": "a part"})).request.caption == "a part"


async def test_instrumental_replaces_the_lyrics(submit: Submit) -> None:
    assert (await submit({"instrumental": "true", "lyrics": "la la"})).request.lyrics == INSTRUMENTAL
    assert (await submit({"instrumental": False, "lyrics": "la la"})).request.lyrics == "la la"


@pytest.mark.parametrize("name", ["audio_code_string", "audio_codes", "audioCodeString"])
async def test_given_codes_are_always_used(submit: Submit, name: str) -> None:
    spec = await submit({name: CODES, "thinking": False, "batch_size": 2})
    assert spec.request.thinking
    assert spec.codes == ((5, 6), (5, 6))
    spec = await submit({name: [CODES, "7"], "batch_size": 2})
    assert spec.codes == ((5, 6), (7,))


async def test_codes_beside_a_source_are_not_used(submit: Submit) -> None:
    spec = await submit(
        data={"task_type": "cover", "audio_codes": CODES}, files={"src_audio": ("a.wav", wav_bytes())}
    )
    assert not spec.request.thinking
    assert (spec.codes, spec.source is not None) == ((), True)


async def test_malformed_codes_are_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post("/release_task", json={"audio_codes": "la la"})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("audio_code_string: ")


async def test_empty_codes_are_no_codes(submit: Submit) -> None:
    for nothing in ([""], [None], [], ""):
        spec = await submit({"audio_code_string": nothing})
        assert (spec.request.thinking, spec.codes) == (False, ()), nothing


async def test_codes_are_cut_to_the_batch(submit: Submit) -> None:
    spec = await submit({"audio_codes": [str(song) for song in range(16)], "batch_size": 16})
    assert spec.codes == tuple((song,) for song in range(8))
    assert "audio_code_string has 16 entries for 8 songs: the others were left out." in spec.notes


async def test_a_seed_counts_only_without_random_seeds(submit: Submit) -> None:
    spec = await submit({"seed": 5})
    assert "seed was ignored: use_random_seed is true." in spec.notes
    spec = await submit({"seed": 5, "use_random_seed": False, "batch_size": 2})
    assert (spec.seeds, spec.notes) == ((5, 6), ())


async def test_lists_of_seeds_fit_the_batch(submit: Submit) -> None:
    spec = await submit({"seed": "1,-1,3", "use_random_seed": False, "batch_size": 3})
    assert (spec.seeds[0], spec.seeds[2], spec.notes) == (1, 3, ())
    spec = await submit({"seed": "1,2,3", "use_random_seed": False, "batch_size": 2})
    assert spec.seeds == (1, 2)
    assert "left out" in notes_of(spec)
    spec = await submit({"seed": "1,2", "use_random_seed": False, "batch_size": 4})
    assert (spec.seeds[:2], len(spec.seeds)) == ((1, 2), 4)
    assert "random" in notes_of(spec)


async def test_an_analysis_has_one_seed_and_no_list_is_no_seed(submit: Submit) -> None:
    spec = await submit({"analysis_only": True, "use_random_seed": False, "seed": "1,2"})
    assert spec.seeds == (1,)
    assert "left out" in notes_of(spec)
    spec = await submit({"seed": [], "use_random_seed": False, "batch_size": 2})
    assert (len(spec.seeds), spec.notes) == (2, ())


@pytest.mark.parametrize("audio_format", ["mp3", "wav", "flac", "wav32", "ogg", "opus", "aac", "MP3"])
async def test_formats(submit: Submit, audio_format: str) -> None:
    assert (await submit({"audio_format": audio_format})).request.audio_format == audio_format.lower()


async def test_m4a_is_aac_and_an_unknown_format_is_refused(http: httpx.AsyncClient, submit: Submit) -> None:
    assert (await submit({"audio_format": "m4a"})).request.audio_format == "aac"
    answer = await http.post("/release_task", json={"audio_format": "midi"})
    assert answer.status_code == 422
    assert "mp3" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("cover", "cover"),
        ("cover-nofsq", "cover"),
        ("audio2audio", "cover"),
        ("repaint", "repaint"),
        ("repainting", "repaint"),
        ("Cover", "cover"),
    ],
)
async def test_tasks(submit: Submit, sent: str, meant: str) -> None:
    spec = await submit(data={"task_type": sent}, files={"src_audio": ("a.wav", wav_bytes())})
    assert spec.request.task_type == meant
    assert spec.request.cover_nofsq == (sent == "cover-nofsq")
    assert spec.notes == ()


async def test_a_morph_of_text2music_takes_its_source(http: httpx.AsyncClient, submit: Submit) -> None:
    morph = {"flow_edit_morph": "true", "thinking": "true", "prompt": "a waltz"}
    spec = await submit(data=morph, files={"src_audio": ("a.wav", wav_bytes())})
    assert (spec.request.task_type, spec.request.is_morph) == ("text2music", True)
    assert spec.source is not None
    answer = await http.post("/release_task", json=morph)
    assert answer.status_code == 422
    assert "src_audio" in answer.json()["detail"]


@pytest.mark.parametrize("task", ["stem_separation", "continuation", "lego", "extract", "complete"])
async def test_what_the_model_cannot_do_is_refused_with_what_it_can(
    http: httpx.AsyncClient, task: str
) -> None:
    answer = await http.post(
        "/release_task", data={"task_type": task}, files={"src_audio": ("a.wav", wav_bytes())}
    )
    assert answer.status_code == 422
    assert "text2music, cover, repaint" in answer.json()["detail"]


async def test_a_task_without_its_source_is_refused(http: httpx.AsyncClient) -> None:
    for task in ("cover", "repaint"):
        answer = await http.post("/release_task", json={"task_type": task})
        assert answer.status_code == 422
        assert "src_audio" in answer.json()["detail"]


@pytest.mark.parametrize("end", [-1, 0, None, "-1", "0"])
async def test_ends_that_mean_the_end_of_the_source(submit: Submit, end: Any) -> None:
    sent = {"task_type": "repaint", "repainting_start": "1"} | (
        {} if end is None else {"repainting_end": str(end)}
    )
    spec = await submit(data=sent, files={"src_audio": ("a.wav", wav_bytes())})
    assert (spec.request.repainting_start, spec.request.repainting_end, spec.notes) == (1.0, None, ())


@pytest.mark.parametrize(("start", "end"), [("1.5", "1"), ("1", "1"), ("9", "-1"), ("9", "0")])
async def test_a_window_that_ends_before_it_begins_is_the_whole_source(
    submit: Submit, start: str, end: str
) -> None:
    spec = await submit(
        data={"task_type": "repaint", "repainting_start": start, "repainting_end": end},
        files={"src_audio": ("a.wav", wav_bytes(2.0))},
    )
    assert (spec.request.repainting_start, spec.request.repainting_end) == (0.0, None)
    assert "the whole source was renewed" in notes_of(spec)


@pytest.mark.parametrize(
    ("start", "end", "window", "whole"),
    [
        ("1", "30", (1.0, 20.0), False),
        ("-4", "30", (-4.0, 16.0), False),
        ("25", "30", (0.0, None), True),
    ],
)
async def test_a_window_that_makes_the_song_too_long_is_bounded(
    submit: Submit, start: str, end: str, window: tuple[float, float | None], whole: bool
) -> None:
    spec = await submit(
        data={"task_type": "repaint", "repainting_start": start, "repainting_end": end},
        files={"src_audio": ("a.wav", wav_bytes(2.0))},
    )
    assert (spec.request.repainting_start, spec.request.repainting_end) == window
    assert "repainting_end '30' became" in notes_of(spec)
    assert ("the whole source was renewed" in notes_of(spec)) == whole


@pytest.mark.parametrize(
    ("start", "end", "window"),
    [
        ("-100", "-1", (-18.0, None)),
        ("-100", "1", (-18.0, 1.0)),
        ("-100", "5", (-15.0, 5.0)),
        ("-1e9", "30", (0.0, 20.0)),
        ("-100", "200", (-18.0, 2.0)),
    ],
)
async def test_a_window_that_begins_too_long_before_the_source_is_bounded(
    submit: Submit, start: str, end: str, window: tuple[float, float | None]
) -> None:
    spec = await submit(
        data={"task_type": "repaint", "repainting_start": start, "repainting_end": end},
        files={"src_audio": ("a.wav", wav_bytes(2.0))},
    )
    assert (spec.request.repainting_start, spec.request.repainting_end) == window
    assert f"repainting_start '{float(start):g}' became {window[0]:g}" in notes_of(spec)


async def test_a_window_that_is_too_long_on_both_sides_ends_with_its_source(
    shared_app: SharedApp, settings: Settings, service: LocalJobService
) -> None:
    api = settings.api.model_copy(update={"max_duration": 600.0})
    app = shared_app(settings.model_copy(update={"api": api}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as http:
        answer = await http.post(
            "/release_task",
            data={"task_type": "repaint", "repainting_start": "-700", "repainting_end": "1400"},
            files={"src_audio": ("a.wav", wav_bytes(10.0))},
        )
    assert answer.status_code == 200, answer.text
    request = service.last.request
    assert (request.repainting_start, request.repainting_end) == (-590.0, 10.0)
    assert "repainting_end '1400' became 10" in notes_of(service.last)


@pytest.fixture
def small_context(monkeypatch: pytest.MonkeyPatch) -> int:
    """A language model that reads few characters; their number."""
    most = 1_000

    async def fits(_: Submission, request: GenerateRequest) -> bool:
        return len(request.caption + request.lyrics) <= most

    monkeypatch.setattr(Submission, "prompt_fits", fits)
    return most


async def test_strict_requests_keep_their_window_and_their_texts(
    http: httpx.AsyncClient, small_context: int
) -> None:
    window = {"task_type": "repaint", "repainting_start": "-100"}
    files = {"src_audio": ("a.wav", wav_bytes(2.0))}
    texts = {"lyrics": "a" * 2 * small_context}
    for options in ({"data": window, "files": files}, {"json": texts}):
        answer = await http.post("/release_task", headers={"X-Strict": "1"}, **options)
        assert answer.status_code == 422


@pytest.mark.parametrize(("caption", "kept_caption"), [("a" * 200, 200), ("a" * 1_500, 1_000)])
async def test_texts_that_the_language_model_cannot_read_are_cut(
    submit: Submit, small_context: int, caption: str, kept_caption: int
) -> None:
    """Lyrics go first. The cut is found by halving, so it is not exact."""
    spec = await submit({"prompt": caption, "lyrics": "b" * 9_000, "thinking": True})
    room = small_context - kept_caption
    assert 0.9 * kept_caption <= len(spec.request.caption) <= kept_caption
    assert 0.9 * room <= len(spec.request.lyrics) <= room
    assert "lyrics was cut to" in notes_of(spec)
    assert ("prompt was cut to" in notes_of(spec)) == (kept_caption < len(caption))


async def test_unknown_tracks_are_dropped(submit: Submit) -> None:
    spec = await submit({"track_name": "kazoo", "track_classes": ["Drums", "spoons"]})
    assert (spec.request.track_name, spec.request.track_classes) == (None, ("drums",))
    assert "'kazoo'" in notes_of(spec)
    assert "'spoons'" in notes_of(spec)


@pytest.mark.parametrize(("top_p", "meant"), [(0, 1.0), (-1, 1.0), (1, 1.0), (5, 1.0), (0.3, 0.3)])
async def test_top_p_beyond_its_range_is_off(submit: Submit, top_p: float, meant: float) -> None:
    assert (await submit({"lm_top_p": top_p})).request.lm_top_p == meant


# Fields that the job API had not before


@pytest.mark.parametrize("name", ["model", "model_name", "modelName", "dit_model", "ditModel"])
async def test_the_model_is_found_by_its_name(submit: Submit, name: str) -> None:
    spec = await submit({name: "acestep/acestep-v15-turbo"})
    assert (spec.dit, spec.notes) == ("acestep-v15-turbo", ())
    spec = await submit({name: "default"})
    assert (spec.dit, spec.notes) == ("acestep-v15-turbo", ())
    spec = await submit({name: "ACE-Step/acestep-v17"})
    assert spec.dit == "acestep-v15-turbo"
    assert "acestep-v17" in notes_of(spec)
    for sent in (5, True, ["acestep-v15-turbo"], {"name": "a"}):
        spec = await submit({name: sent})
        assert spec.dit == "acestep-v15-turbo"
        assert "model" in notes_of(spec)


@pytest.mark.parametrize("sent", ["mp3", "wav", "json"])
async def test_format_is_a_flag_or_nothing(submit: Submit, sent: str) -> None:
    spec = await submit({"format": sent, "prompt": "a"})
    assert (spec.request.use_format, spec.request.audio_format, spec.notes) == (False, "mp3", ())
    spec = await submit({"format": sent, "metas": {"use_format": True}, "prompt": "a"})
    assert spec.request.use_format


@pytest.mark.parametrize(
    ("flag", "made"),
    [
        ("extract_codes_only", Output.CODES),
        ("fullAnalysisOnly", Output.DESCRIPTION),
        ("full_analysis_only", Output.DESCRIPTION),
    ],
)
async def test_analyses_of_a_recording(
    http: httpx.AsyncClient, submit: Submit, flag: str, made: Output
) -> None:
    for task in ("text2music", "cover"):
        spec = await submit(
            data={flag: "true", "task_type": task}, files={"src_audio": ("a.wav", wav_bytes())}
        )
        assert spec.request.output is made
        assert spec.source is not None
    answer = await http.post("/release_task", json={flag: True})
    assert answer.status_code == 422
    assert "src_audio" in answer.json()["detail"]


async def test_an_analysis_of_words_needs_no_recording(submit: Submit) -> None:
    spec = await submit({"analysis_only": True, "prompt": "a song"})
    assert (spec.request.output, spec.source) == (Output.METADATA, None)


async def test_fields_without_effect_are_named_once(submit: Submit) -> None:
    spec = await submit(
        {"eta": 0.5, "mp3_bitrate": "320k", "get_lrc": True, "env": "production", "user_id": "u1"}
    )
    (note,) = spec.notes
    assert note == "Without effect on this server: eta, mp3_bitrate, get_lrc."


async def test_their_usual_values_are_not_worth_a_word(submit: Submit) -> None:
    usual = {
        "use_cot_metas": "true",
        "constrained_decoding": True,
        "sampler_mode": "euler",
        "latent_rescale": "1.0",
        "get_scores": False,
        "eta": 0,
    }
    assert (await submit(usual)).notes == ()
