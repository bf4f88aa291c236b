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
        ("base", {"timesteps": "1,0.5"}, "timesteps"),
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
        ("base", {"task_type": "complete", "track_classes": "drums,bass"}),
    ],
)
def test_nothing_is_said_about_what_counts(dit: str, fields: dict[str, Any]) -> None:
    assert notes(dit, has_source="task_type" in fields, **fields) == []
