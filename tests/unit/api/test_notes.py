"""The notes about extension fields that have no effect. Those of the API document are in test_resolve.py."""

from typing import Any

import pytest

from deployments.checkpoints.catalog import OFFICIAL_DITS
from serve_app.request.notes import without_effect
from serve_app.request.schemas import GenerateRequest


def notes(dit: str, has_source: bool, **fields: Any) -> list[str]:
    checkpoint = OFFICIAL_DITS[f"acestep-v15-{dit}"]
    return list(without_effect(GenerateRequest(**fields), has_source, has_codes=False, dit=checkpoint))


@pytest.mark.parametrize(
    ("dit", "fields", "ignored"),
    [
        ("base", {"timesteps": "1,0.5", "sampling": "2026-01"}, "timesteps"),
        ("turbo", {"sampler_mode": "heun", "infer_method": "sde"}, "sampler_mode"),
        ("turbo", {"dcw_scaler": 0.1, "dcw_enabled": False}, "dcw_scaler"),
        ("turbo", {"dcw_mode": "low", "sampling": "2026-01"}, "dcw_mode"),
        ("base", {"dcw_wavelet": "db4"}, "dcw_wavelet"),
        ("turbo", {"dcw_high_scaler": 0.1, "dcw_mode": "high"}, "dcw_high_scaler"),
        ("turbo", {"dcw_wavelet": "db4", "dcw_mode": "pix"}, "dcw_wavelet"),
        ("turbo", {"normalization_db": -3, "enable_normalization": False}, "normalization_db"),
        ("turbo", {"retake_seed": 3}, "retake_seed"),
        ("turbo", {"cover_nofsq": True}, "cover_nofsq"),
        ("turbo", {"flow_edit_n_avg": 2}, "flow_edit_n_avg"),
        ("turbo", {"flow_edit_morph": True, "task_type": "repaint"}, "flow_edit_morph"),
        ("turbo", {"flow_edit_morph": True, "task_type": "cover", "sampler_mode": "heun"}, "sampler_mode"),
        ("turbo", {"timesteps": "1,0.5", "shift": 2}, "shift"),
        ("turbo", {"use_adg": True}, "use_adg"),
        ("turbo", {"cfg_interval_start": 0.2}, "cfg_interval_start"),
        ("turbo", {"cfg_interval_end": 0.8}, "cfg_interval_end"),
        ("turbo", {"cover_noise_strength": 0.3}, "cover_noise_strength"),
        ("turbo", {"repaint_mode": "aggressive"}, "repaint_mode"),
        ("base", {"track_name": "drums"}, "track_name"),
        ("base", {"track_classes": ["drums"], "track_name": "bass", "task_type": "lego"}, "track_classes"),
        ("base", {"track_name": "drums", "task_type": "lego", "instruction": "Add bells:"}, "track_name"),
    ],
)
def test_one_sentence_names_the_field(dit: str, fields: dict[str, Any], ignored: str) -> None:
    (note,) = notes(dit, has_source="task_type" in fields, **fields)
    assert note.startswith(f"{ignored} was ignored: ")


@pytest.mark.parametrize(
    ("dit", "fields"),
    [
        ("turbo", {}),
        ("turbo", {"timesteps": "1,0.5", "infer_method": "sde", "lm_guide_metadata": True}),
        ("turbo", {"shift": 1}),
        ("sft", {"timesteps": "1,0.5", "use_adg": True, "cfg_interval_start": 0.2, "cfg_interval_end": 0.8}),
        ("turbo", {"task_type": "cover", "cover_noise_strength": 0.3}),
        ("turbo", {"task_type": "repaint", "repaint_mode": "aggressive"}),
        ("base", {"task_type": "extract", "track_name": "vocals"}),
        ("base", {"timesteps": "1,0.5", "dcw_enabled": True, "dcw_scaler": 0.01}),
        ("turbo", {"sampler_mode": "heun", "dcw_mode": "low", "dcw_wavelet": "sym8"}),
        ("turbo", {"task_type": "cover", "cover_nofsq": True}),
        (
            "turbo",
            {"task_type": "text2music", "flow_edit_morph": True, "flow_edit_n_avg": 2},
        ),
        ("turbo", {"retake_variance": 0.3, "retake_seed": 4, "fade_in_duration": 1}),
        ("base", {"task_type": "complete", "track_classes": "drums,bass"}),
    ],
)
def test_nothing_is_said_about_what_counts(dit: str, fields: dict[str, Any]) -> None:
    assert notes(dit, has_source="task_type" in fields, **fields) == []


@pytest.mark.parametrize(
    ("dit", "fields", "steps"),
    [
        ("turbo", {}, 0),
        ("turbo", {"inference_steps": 20}, 7),
        ("turbo", {"inference_steps": 20, "sampling": "2026-01"}, 0),
        ("turbo", {"inference_steps": 20, "sampler_mode": "heun"}, 0),
        ("turbo", {"inference_steps": 20, "infer_method": "sde"}, 0),
        ("base", {"inference_steps": 50, "shift": 3}, 0),
        ("base", {"inference_steps": 50, "shift": 3, "dcw_enabled": True}, 31),
        ("base", {"inference_steps": 20, "shift": 1, "dcw_enabled": True}, 0),
        ("base", {"inference_steps": 20, "shift": 1, "dcw_enabled": True, "dcw_scaler": 0.06}, 1),
    ],
)
def test_a_correction_that_turns_steps_back_is_named(dit: str, fields: dict[str, Any], steps: int) -> None:
    found = notes(dit, has_source=False, **fields)
    if steps == 0:
        assert found == []
    else:
        (note,) = found
        assert note.startswith(f"The correction took back more than {steps} of the steps went")
