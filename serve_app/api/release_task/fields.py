"""The names of the fields of `/release_task`: their aliases, and those that have no effect here.

A field that is not mentioned here has its name of the job API.
"""

from collections.abc import Mapping
from typing import Any

from serve_app.api.intake.parsing import LONE_ADAPTER, in_both_cases
from serve_app.request.schemas import GenerateRequest

NAMES: Mapping[str, tuple[str, ...]] = {
    "caption": ("prompt", "caption"),
    "audio_code_string": ("audio_code_string", "audio_codes"),
    "key_scale": ("key_scale", "keyscale", "key"),
    "time_signature": ("time_signature", "timesignature"),
    "audio_duration": ("audio_duration", "duration", "target_duration"),
    "vocal_language": ("vocal_language", "language"),
    "timesteps": ("timesteps", "custom_timesteps"),
    "src_audio_path": ("src_audio_path", "ctx_audio_path", "source_audio_path"),
    "reference_audio_path": ("reference_audio_path", "ref_audio_path"),
    "audio_cover_strength": ("audio_cover_strength", "cover_strength"),
    "track_classes": ("track_classes", "instruments", "complete_track_classes"),
    "model": ("model", "model_name", "dit_model"),
    "sample_query": ("sample_query", "description", "desc"),
    "use_format": ("use_format", "format"),
    "use_cot_caption": ("use_cot_caption", "cot_caption", "cot-caption"),
    "use_cot_language": ("use_cot_language", "cot_language", "cot-language"),
}
"""The names of a field here, by its name in the job API. The first one that is given counts."""

OUTPUT_FLAGS = {
    "extract_codes_only": "codes",
    "full_analysis_only": "description",
    "analysis_only": "metadata",
}
"""Flags that ask for an analysis, and the value of `output` that each stands for. The first one counts."""

OWN_FIELDS = (*OUTPUT_FLAGS, "instrumental", *LONE_ADAPTER)
"""Fields that the job API expresses by others."""

FILES: Mapping[str, tuple[str, ...]] = {
    "src_audio": ("src_audio", "ctx_audio"),
    "reference_audio": ("reference_audio", "ref_audio"),
}
"""The names of uploads here, by their names in the job API."""

OBJECTS = ("metas", "meta", "metadata", "user_metadata", "userMetadata")
"""Objects that may hold any field. The first one that is given counts."""
PARAMETERS = "param_obj"
"""An object that may hold any field, too, and takes precedence over the others."""

TOKEN = "ai_token"
"""The field, or query parameter, for an API key."""

ANY_VALUE = object()
"""Stands for every value of a field that never makes a difference."""

WITHOUT_EFFECT: Mapping[str, Any] = {
    "use_cot_metas": True,
    "constrained_decoding": True,
    "constrained_decoding_debug": False,
    "use_constrained_decoding": True,
    "constrained": True,
    "is_format_caption": False,
    "allow_lm_batch": True,
    "parallel_thinking": True,
    "lm_batch_chunk_size": 8,
    "use_tiled_decode": True,
    "env": ANY_VALUE,
    "user_id": ANY_VALUE,
    "negative_prompt": "",
    "audio_guidance_scale": None,
    "repaint_latent_crossfade_frames": 10,
    "repaint_wav_crossfade_sec": 0.0,
    "eta": 0.0,
    "momentum": None,
    "guidance_variant": None,
    "guidance_params": None,
    "mp3_bitrate": "192k",
    "mp3_sample_rate": 48_000,
    "get_scores": False,
    "auto_score": False,
    "score_scale": 0.5,
    "get_lrc": False,
    "auto_lrc": False,
}
"""Accepted fields that change nothing, with the value that asks for what happens anyway; None is unknown."""

FREE_TEXT = frozenset(
    {
        "caption",
        "lyrics",
        "instruction",
        "sample_query",
        "global_caption",
        "lm_negative_prompt",
        "flow_edit_source_caption",
        "flow_edit_source_lyrics",
    }
)
"""Fields in which `null`, `none` and `undefined` are words."""
ABSENT = frozenset({"null", "none", "undefined"})
"""Texts that mean "not given" in all other fields, in any case."""
FACTS = frozenset({"bpm", "key_scale", "time_signature", "audio_duration"})
UNKNOWN_FACTS = frozenset({"n/a", "auto"})
"""Texts that mean "not given" in these, in any case."""

REQUEST_FIELDS = tuple(name for name in GenerateRequest.model_fields if name != "output")
"""The fields of the job API that can be given here. `output` is given by flags."""

SPELLINGS: Mapping[str, tuple[str, ...]] = {
    name: in_both_cases(NAMES.get(name, (name,))) for name in (*REQUEST_FIELDS, *OWN_FIELDS, *WITHOUT_EFFECT)
} | {name: in_both_cases(names) for name, names in FILES.items()}
"""Every accepted spelling of a field, in order of precedence."""
KNOWN = frozenset(spelling for spellings in SPELLINGS.values() for spelling in spellings)
CONTAINERS = in_both_cases((PARAMETERS, *OBJECTS))
