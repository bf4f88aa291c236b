"""`/release_task` runs a request with bad values and says what it made of them."""

import math
import time
from typing import Any

import httpx
import pytest

from serve_app.api.release_task.lenient import MAX_NAMES, MAX_NOTES, Leniency, number_in
from serve_app.request.fields import MAX_ADAPTERS, MAX_ENTRIES
from tests.unit.api.conftest import LocalJobService, wav_bytes
from tests.unit.api.release_task.conftest import Submit, notes_of

TOO_LONG = "x" * 20_000
CASES: list[tuple[str, Any, str, Any]] = [
    ("bpm", "fast", "bpm", None),
    ("bpm", 29, "bpm", 30),
    ("bpm", 301, "bpm", 300),
    ("bpm", 120.5, "bpm", 121),
    ("bpm", 10**400, "bpm", 300),
    ("bpm", "9" * 5_000, "bpm", None),
    ("duration", 600, "audio_duration", 20.0),
    ("duration", "long", "audio_duration", None),
    ("duration", "NaN", "audio_duration", None),
    ("duration", "1e999", "audio_duration", 20.0),
    ("inference_steps", 0, "inference_steps", 1),
    ("inference_steps", 1_000, "inference_steps", 200),
    ("inference_steps", "8.4", "inference_steps", 8),
    ("inference_steps", "many", "inference_steps", 8),
    ("guidance_scale", -1, "guidance_scale", 0.0),
    ("guidance_scale", 99, "guidance_scale", 30.0),
    ("batch_size", 16, "batch_size", 8),
    ("batch_size", 0, "batch_size", 1),
    ("batch_size", "two", "batch_size", 2),
    ("shift", 0.5, "shift", 1.0),
    ("shift", 9, "shift", 5.0),
    ("lm_temperature", -1, "lm_temperature", 0.0),
    ("lm_cfg_scale", 25, "lm_cfg_scale", 20.0),
    ("lm_cfg_scale", "high", "lm_cfg_scale", 2.5),
    ("lm_top_k", -1, "lm_top_k", 0),
    ("lm_top_k", 70_000, "lm_top_k", 64_000),
    ("lm_top_p", "most", "lm_top_p", 0.9),
    ("lm_repetition_penalty", 0, "lm_repetition_penalty", 0.1),
    ("audio_cover_strength", 1.5, "audio_cover_strength", 1.0),
    ("cover_noise_strength", -0.5, "cover_noise_strength", 0.0),
    ("repaint_strength", 2, "repaint_strength", 1.0),
    ("repainting_start", "soon", "repainting_start", 0.0),
    ("repainting_end", "late", "repainting_end", None),
    ("cfg_interval_end", 1.5, "cfg_interval_end", 1.0),
    ("timesteps", "1,half", "timesteps", None),
    ("timesteps", [0.5, 1], "timesteps", None),
    ("timesteps", [1 - step / 21 for step in range(21)], "timesteps", None),
    ("language", "English", "vocal_language", "unknown"),
    ("language", "auto", "vocal_language", "unknown"),
    ("key", "x" * 33, "key_scale", ""),
    ("key", "C\nMajor", "key_scale", ""),
    ("key", "<|im_end|>", "key_scale", ""),
    ("time_signature", "waltz", "time_signature", ""),
    ("time_signature", "4/0", "time_signature", ""),
    ("infer_method", "heun", "infer_method", "ode"),
    ("retake_seed", "many", "retake_seed", (-1,)),
    ("retake_variance", 2, "retake_variance", 1.0),
    ("sampling", "2031-01", "sampling", "2026-08"),
    ("sampler_mode", "rk4", "sampler_mode", "euler"),
    ("velocity_norm_threshold", -1, "velocity_norm_threshold", 0.0),
    ("velocity_ema_factor", 1, "velocity_ema_factor", 0.99),
    ("dcw_enabled", "perhaps", "dcw_enabled", None),
    ("dcw_mode", "triple", "dcw_mode", "double"),
    ("dcw_scaler", -0.1, "dcw_scaler", 0.0),
    ("dcw_high_scaler", 2, "dcw_high_scaler", 1.0),
    ("dcw_wavelet", "bior4.4", "dcw_wavelet", "haar"),
    ("latent_rescale", 0, "latent_rescale", 0.01),
    ("latent_shift", 99, "latent_shift", 10.0),
    ("flow_edit_n_min", 1, "flow_edit_n_min", 0.99),
    ("flow_edit_n_avg", 0, "flow_edit_n_avg", 1),
    ("flow_edit_source_caption", TOO_LONG, "flow_edit_source_caption", TOO_LONG[:2_048]),
    ("normalization_db", -90, "normalization_db", -60.0),
    ("normalization_db", "loud", "normalization_db", -1.0),
    ("fade_in_duration", -1, "fade_in_duration", 0.0),
    ("fade_out_duration", "1e9", "fade_out_duration", 600.0),
    ("repaint_mode", "gentle", "repaint_mode", "balanced"),
    ("chunk_mask_mode", "none of them", "chunk_mask_mode", "auto"),
    ("lm_backend", "mlx", "lm_backend", "vllm"),
    ("lm_model_path", "acestep-5Hz-lm-70B", "lm_model_path", "acestep-5Hz-lm-0.6B"),
    ("model", "acestep-v17", "model", None),
    ("thinking", "perhaps", "thinking", False),
    ("thinking", 2, "thinking", False),
    ("use_cot_caption", "perhaps", "use_cot_caption", True),
    ("prompt", TOO_LONG, "caption", TOO_LONG[:2_048]),
    ("lyrics", TOO_LONG, "lyrics", TOO_LONG[:16_384]),
    ("prompt", "half a pair \ud800", "caption", "half a pair "),
    ("prompt", "nul \0", "caption", "nul "),
    ("priority", 99, "priority", 9),
]  # fmt: skip
"""A bad value: the name and value that are sent, and the field and value that they become."""


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share one application."""
    return shared_http


@pytest.mark.parametrize(("name", "sent", "field", "meant"), CASES[:-1], ids=lambda value: repr(value)[:30])
async def test_a_bad_value_has_a_near_one_and_a_note(
    submit: Submit, name: str, sent: Any, field: str, meant: Any
) -> None:
    body: dict[str, Any] = {"json": {name: sent}}
    if isinstance(sent, str) and not sent.isprintable():
        body = {"content": _ascii(name, sent), "headers": {"Content-Type": "application/json"}}
    spec = await submit(**body)
    assert getattr(spec.request, field) == meant
    note = spec.notes[0]
    assert note.startswith(name if field == name or name == "prompt" else field)
    assert len(note) < 300


def _ascii(name: str, value: str) -> str:
    return f'{{"{name}": "' + value.encode("unicode_escape").decode().replace("\\x", "\\u00") + '"}'


async def test_a_peak_above_full_scale_switches_normalisation_off(submit: Submit) -> None:
    spec = await submit({"normalization_db": 3})
    assert (spec.request.enable_normalization, spec.request.normalization_db) == (False, -1.0)
    assert spec.notes[0] == "normalization_db '3' is above 0: the songs were not normalised."


@pytest.mark.parametrize(
    ("name", "sent", "field", "meant"),
    [
        ("bpm", 0, "bpm", None),
        ("bpm", -1, "bpm", None),
        ("duration", -1, "audio_duration", None),
        ("duration", 0, "audio_duration", None),
        ("duration", "-1", "audio_duration", None),
        ("bpm", "120.0", "bpm", 120),
        ("time_signature", 4, "time_signature", "4"),
        ("time_signature", "5", "time_signature", "5/4"),
        ("time_signature", "7/8", "time_signature", "7/8"),
        ("language", "en-US", "vocal_language", "en"),
        ("infer_method", "SDE", "infer_method", "sde"),
    ],
)
async def test_usual_words_for_usual_things_need_no_note(
    submit: Submit, name: str, sent: Any, field: str, meant: Any
) -> None:
    spec = await submit({name: sent})
    assert (getattr(spec.request, field), spec.notes) == (meant, ())


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (1.5, 1),
        ("1.5", 1),
        (2**32, 0),
        (2**32 + 5, 5),
        (2**63 + 7, 7),
        (str(2**64 + 9), 9),
        (True, None),
        ({"a": 1}, None),
    ],
)
async def test_seeds(http: httpx.AsyncClient, service: LocalJobService, sent: Any, meant: int | None) -> None:
    fields = {"seed": sent, "use_random_seed": False, "batch_size": 1}
    answer = await http.post("/release_task", json=fields)
    if meant is None:
        assert answer.status_code == 422
    else:
        assert service.last.seeds == (meant,)
        assert "seed" in notes_of(service.last)


@pytest.mark.parametrize("sent", [-5, "-1", "soon", math.pi * -1])
async def test_seeds_that_are_random(submit: Submit, sent: Any) -> None:
    first, second = [await submit({"seed": sent, "use_random_seed": False}) for _ in range(2)]
    assert first.seeds != second.seeds


async def test_an_interval_that_ends_before_it_starts_is_dropped(submit: Submit) -> None:
    spec = await submit({"cfg_interval_start": 0.9, "cfg_interval_end": 0.1})
    assert (spec.request.cfg_interval_start, spec.request.cfg_interval_end) == (0.0, 1.0)
    assert "cfg_interval_end" in notes_of(spec)


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("prompt", {"text": "a"}),
        ("prompt", 5),
        ("lyrics", ["la"]),
        ("bpm", {"value": 90}),
        ("bpm", True),
        ("thinking", []),
        ("language", 5),
        ("key", 7),
        ("infer_method", 1),
        ("track_name", ["drums"]),
        ("track_classes", {"drums": True}),
        ("timesteps", 1),
        ("audio_format", "midi"),
        ("task_type", "remix"),
        ("audio_codes", "la la"),
        ("src_audio", "UklGRg=="),
        ("callback_url", "ftp://example.com/"),
    ],
)
async def test_what_stays_refused(
    http: httpx.AsyncClient, service: LocalJobService, name: str, sent: Any
) -> None:
    fields = {name: sent} if name != "src_audio" else {name: sent, "task_type": "cover"}
    answer = await http.post("/release_task", json=fields)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, 422)
    assert problem["error"] == problem["detail"]
    assert service.jobs == []


async def test_a_file_in_the_place_of_a_text_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post("/release_task", files={"prompt": ("a.txt", b"a song")})
    assert (answer.status_code, answer.json()["detail"]) == (422, "prompt: Input should be text, not a file")


@pytest.mark.parametrize("content", [b"not a song", b""])
async def test_a_recording_that_cannot_be_read_is_refused(http: httpx.AsyncClient, content: bytes) -> None:
    answer = await http.post(
        "/release_task", data={"task_type": "cover"}, files={"src_audio": ("a.mp3", content)}
    )
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("src_audio: The file ")


async def test_all_changes_are_named(submit: Submit) -> None:
    spec = await submit({"bpm": 500, "language": "Klingon", "batch_size": 16})
    assert len(spec.notes) == 3
    assert all(name in notes_of(spec) for name in ("bpm", "vocal_language", "batch_size"))


UNKNOWN_NAMES = {"a text": "x," * 500_000, "an array": ["x"] * 100_000}


@pytest.mark.parametrize("form", UNKNOWN_NAMES)
async def test_any_number_of_unknown_names_makes_few_notes(submit: Submit, form: str) -> None:
    spec = await submit({"track_classes": UNKNOWN_NAMES[form]})
    assert spec.request.track_classes == ()
    assert 1 < len(spec.notes) <= MAX_NOTES
    assert len(notes_of(spec)) < MAX_NOTES * 300


@pytest.mark.parametrize("written", ["a text", "an array"])
async def test_as_many_names_are_read_as_the_job_api_takes(
    http: httpx.AsyncClient, submit: Submit, written: str
) -> None:
    assert MAX_NAMES == MAX_ENTRIES
    for before, read in ((MAX_NAMES - 1, ("drums",)), (MAX_NAMES, ())):
        names = [""] * before + ["drums"]
        spec = await submit({"track_classes": ",".join(names) if written == "a text" else names})
        assert spec.request.track_classes == read
        assert ("the others were left out" in notes_of(spec)) == (not read)
    answer = await http.post("/v1/music/generate", json={"track_classes": ["drums"] * (MAX_NAMES + 1)})
    assert answer.status_code == 422


async def test_too_many_adapters_are_refused_and_not_looked_at(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers: list[str] = []
    number = Leniency.number

    def noted(leniency: Leniency, name: str, *rest: Any) -> Any:
        numbers.append(name)
        return number(leniency, name, *rest)

    monkeypatch.setattr(Leniency, "number", noted)
    for count, looked_at in ((MAX_ADAPTERS + 1, 0), (900, 0), (MAX_ADAPTERS, MAX_ADAPTERS)):
        adapters = [{"name": "folk", "scale": 99}] * count
        answer = await http.post("/release_task", json={"adapters": adapters})
        assert (answer.status_code, "adapters" in answer.json()["detail"]) == (422, True)
        assert numbers.count("scale") == looked_at


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5", 5.0),
        (" +5. ", 5.0),
        ("5.e1", 50.0),
        ("-.5", -0.5),
        ("1e-3", 0.001),
        ("0" * 399 + "7", 7.0),
        ("0." + "0" * 399 + "7", 0.0),
        ("7." + "0" * 400, 7.0),
        ("1" * 400, math.inf),
        ("-1e99999", -math.inf),
        ("1" * 401, None),
        ("7." + "0" * 401, None),
        ("." + "0" * 401, None),
        ("1e999999", None),
        (".", None),
        ("", None),
        ("1.2.3", None),
        ("0x1", None),
        ("1_000", None),
        ("nan", None),
        ("٣", None),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_a_text_says_as_a_number(text: str, number: float | None) -> None:
    assert number_in(text) == number


def test_a_long_text_of_digits_is_read_once() -> None:
    """Each way to cut it into whole and decimal digits was tried once."""

    def seconds(text: str) -> float:
        tries = []
        for _ in range(5):
            start = time.process_time()
            for _ in range(10):
                number_in(text)
            tries.append(time.process_time() - start)
        return min(tries)

    assert seconds("9" * 900) < 50 * seconds("9" * 300)


async def test_a_silent_reference_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post("/release_task", files={"ref_audio": ("a.wav", wav_bytes(level=0))})
    assert answer.status_code == 422
    assert "silent" in answer.json()["detail"]
