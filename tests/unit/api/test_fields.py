"""What counts as a valid value (contract §1.2)."""

from typing import Any

import pytest
from pydantic import ValidationError

from deployments.domain import LANGUAGES
from serve_app.api.schemas import GenerateRequest


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


def test_a_request_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        GenerateRequest().caption = "other"
