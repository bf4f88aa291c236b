"""The values that each field accepts (contract §1.2)."""

from typing import Any

import pytest
from pydantic import ValidationError

from configs.domain import LANGUAGES, TRACKS
from serve_app.request.fields import MAX_STEPS
from serve_app.request.schemas import GenerateRequest


@pytest.mark.parametrize(
    ("field", "given", "value"),
    [
        ("thinking", "YES", True),
        ("thinking", "off", False),
        ("thinking", 0, False),
        ("use_random_seed", "n", False),
        ("bpm", "120", 120),
        ("bpm", 120.0, 120),
        ("guidance_scale", 0, 0.0),
        ("guidance_scale", "0", 0.0),
        ("audio_cover_strength", 0, 0.0),
        ("lm_temperature", 0, 0.0),
        ("lm_top_k", "0", 0),
        ("lm_top_p", 1.5, 1.0),
        ("lm_cfg_scale", -3, 1.0),
        ("lm_cfg_scale", 20, 20.0),
        ("vocal_language", "en-US", "en"),
        ("vocal_language", "zh_Hant_TW", "zh"),
        ("vocal_language", "unknown", "unknown"),
        ("key_scale", "c# minor", "c# minor"),
        ("key_scale", " D dorian ", "D dorian"),
        ("time_signature", 4, "4"),
        ("time_signature", "7/8", "7/8"),
        ("seed", 0, (0,)),
        ("seed", "4294967295", (2**32 - 1,)),
        ("seed", "1, 2,-1", (1, 2, -1)),
        ("repainting_end", -1, -1.0),
        ("lm_guide_metadata", "on", True),
        ("shift", 1, 1.0),
        ("shift", "5", 5.0),
        ("timesteps", "1, 0.5,0", (1.0, 0.5, 0.0)),
        ("timesteps", [0.97, "0.5"], (0.97, 0.5)),
        ("infer_method", "sde", "sde"),
        ("cfg_interval_end", 0, 0.0),
        ("cover_noise_strength", "1", 1.0),
        ("repaint_mode", "aggressive", "aggressive"),
        ("track_name", " Backing Vocals ", "backing_vocals"),
        ("track_classes", "drums|BASS,drums", ("drums", "bass")),
        ("track_classes", ["fx"], ("fx",)),
        ("caption", "x" * 2_048, "x" * 2_048),
        ("lyrics", "🎵" * 16_384, "🎵" * 16_384),
        ("lyrics", "a\r\n\tb", "a\r\n\tb"),
    ],
)
def test_valid_values(field: str, given: Any, value: Any) -> None:
    assert getattr(GenerateRequest(**{field: given}), field) == value


def test_every_language_of_the_model_is_taken() -> None:
    assert len(LANGUAGES) == 51
    for language in LANGUAGES:
        assert GenerateRequest(vocal_language=language).vocal_language == language


def test_the_defaults_of_the_document() -> None:
    request = GenerateRequest()
    assert (request.caption, request.lyrics, request.thinking) == ("", "", False)
    assert (request.vocal_language, request.audio_format) == ("en", "mp3")
    assert (request.bpm, request.key_scale, request.time_signature, request.audio_duration) == (
        None,
        "",
        "",
        None,
    )
    assert (request.inference_steps, request.guidance_scale) == (8, 7.0)
    assert (request.use_random_seed, request.seed, request.batch_size) == (True, (-1,), None)
    assert (request.lm_model_path, request.lm_backend) == (None, "vllm")
    assert (request.lm_temperature, request.lm_cfg_scale, request.lm_negative_prompt) == (
        0.85,
        2.0,
        "NO USER INPUT",
    )
    assert (request.lm_top_k, request.lm_top_p, request.lm_repetition_penalty) == (None, 0.9, 1.0)
    assert (request.reference_audio_path, request.src_audio_path, request.task_type) == (
        None,
        None,
        "text2music",
    )
    assert (request.repainting_start, request.repainting_end, request.audio_cover_strength) == (
        0.0,
        None,
        1.0,
    )
    assert request.instruction.startswith("Fill the audio semantic mask")


def test_extensions_are_off_unless_asked_for() -> None:
    request = GenerateRequest()
    assert (request.shift, request.timesteps, request.infer_method) == (None, None, "ode")
    assert (request.use_adg, request.cfg_interval_start, request.cfg_interval_end) == (False, 0.0, 1.0)
    assert (request.cover_noise_strength, request.lm_guide_metadata) == (0.0, False)
    assert (request.track_name, request.track_classes) == (None, ())


def test_the_longest_schedule_has_as_many_steps_as_inference_steps_may_ask_for() -> None:
    schedule = [1 - step / MAX_STEPS for step in range(MAX_STEPS)]
    assert GenerateRequest(timesteps=schedule, inference_steps=MAX_STEPS).timesteps == tuple(schedule)
    with pytest.raises(ValidationError):
        GenerateRequest(timesteps=[*schedule, 0])
    with pytest.raises(ValidationError):
        GenerateRequest(inference_steps=MAX_STEPS + 1)


def test_every_track_of_the_model_is_taken() -> None:
    assert GenerateRequest(track_classes=TRACKS).track_classes == TRACKS
    assert len(TRACKS) == 12


def test_a_guidance_interval_may_be_a_point_but_not_upside_down() -> None:
    point = GenerateRequest(cfg_interval_start=0.5, cfg_interval_end=0.5)
    assert (point.cfg_interval_start, point.cfg_interval_end) == (0.5, 0.5)
    with pytest.raises(ValidationError, match="cfg_interval_start"):
        GenerateRequest(cfg_interval_start=0.6, cfg_interval_end=0.5)


def test_a_request_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        GenerateRequest().caption = "other"
