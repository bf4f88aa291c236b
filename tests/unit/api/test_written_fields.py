"""Fields for what the language model writes, hears and analyses, as they are settled at submit."""

from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError

from configs.settings import Settings
from deployments.common.messages import STAGES
from serve_app.request.capabilities import apply_limits, server_limits
from serve_app.request.draft import draft_of
from serve_app.request.resolve import job_draft
from serve_app.request.schemas import GenerateRequest, Output
from serve_app.request.spec import JobSpec, Recording
from serve_app.request.workload import job_work

LIMITS = server_limits(Settings())
SOURCE = Recording("memory://source", 20.0)


def spec(source: Recording | None = None, **fields: Any) -> JobSpec:
    return job_draft(apply_limits(GenerateRequest(**fields), LIMITS), source, None, LIMITS).spec


@pytest.mark.parametrize(
    ("fields", "chooses"),
    [
        ({"use_cot_language": True}, True),
        ({"use_cot_language": True, "vocal_language": "unknown"}, True),
        ({"use_cot_language": True, "vocal_language": "ja"}, False),
        ({"use_cot_language": True, "vocal_language": "en"}, False),
        ({}, False),
    ],
)
def test_the_lm_chooses_the_language_only_where_none_is_given(fields: dict[str, Any], chooses: bool) -> None:
    assert spec(**fields).request.use_cot_language is chooses


@pytest.mark.parametrize("output", [Output.CODES, Output.DESCRIPTION])
def test_an_analysis_of_a_recording_needs_one_whatever_the_task(output: Output) -> None:
    with pytest.raises(RequestValidationError) as refused:
        spec(output=output)
    assert refused.value.errors()[0]["loc"] == ("body", "src_audio")
    for task_type in ("text2music", "cover", "repaint"):
        job = spec(SOURCE, output=output, task_type=task_type, thinking=True, batch_size=4)
        draft = draft_of(job)
        assert (job.source, len(job.seeds), draft.span, draft.wants_codes) == (SOURCE, 1, None, False)
        assert draft.durations == (20.0,)


def test_metadata_for_texts_uses_no_recording() -> None:
    job = spec(SOURCE, output="metadata", task_type="cover")
    assert (job.source, draft_of(job).durations) == (None, None)


@pytest.mark.parametrize("output", [Output.CODES, Output.DESCRIPTION, Output.METADATA])
def test_an_analysis_is_work_for_the_planning_stage_alone(output: Output) -> None:
    work = job_work(draft_of(spec(SOURCE, output=output)), LIMITS)
    assert dict(zip(STAGES, work.calls, strict=True)) == {
        stage: float(stage == "planning") for stage in STAGES
    }
    assert work.audio_seconds == 0


def test_a_song_that_is_written_is_planned_even_if_its_metadata_is_complete() -> None:
    complete = {"bpm": 72, "key_scale": "C", "time_signature": "4", "audio_duration": 10}
    for fields, planned in (
        ({}, 0.0),
        ({"sample_query": "a"}, 1.0),
        ({"caption": "a", "use_format": True}, 1.0),
    ):
        assert job_work(draft_of(spec(**complete, **fields)), LIMITS).calls[0] == planned


def test_a_format_with_nothing_to_rewrite_is_said_to_have_no_effect() -> None:
    assert "use_format was ignored" in " ".join(spec(use_format=True).notes)
    assert spec(use_format=True, lyrics="la la").notes == ()
    assert spec(use_format=True, sample_query="a waltz").notes == ()


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"task_type": "repaint", "repaint_strength": 0.2}, None),
        (
            {"task_type": "repaint", "repaint_strength": 0.2, "repaint_mode": "aggressive"},
            "repaint_mode is aggressive",
        ),
        ({"task_type": "cover", "repaint_strength": 0.2}, "task_type is cover"),
        ({"task_type": "cover", "global_caption": "a band"}, "acestep-v15-turbo is no model for stems"),
    ],
)
def test_a_field_without_effect_is_named(fields: dict[str, Any], note: str | None) -> None:
    notes = spec(SOURCE, **fields).notes
    assert (note in notes[0]) if note else notes == ()
