"""Silent and short sources: refused unless the request allows them, then as long as the song asks for."""

from typing import Any

import httpx
import pytest

from configs.domain import SOURCE_TASKS
from configs.settings import Settings
from serve_app.request.capabilities import Limits, apply_limits, server_limits
from serve_app.request.draft import draft_of
from serve_app.request.resolve import job_draft, takes_silence
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec, Recording
from tests.unit.api.conftest import LocalJobService, wav_bytes

GENERATE = "/v1/music/generate"
SILENCE = Recording("memory://source", 0.1, silent=True)
SOUND = Recording("memory://source", 0.1)
SILENT_WAV = {"src_audio": ("a.wav", wav_bytes(0.1, level=0))}


def lengths(source: Recording, **fields: Any) -> tuple[float, float, float]:
    """Start and end of the window, and the length of the song."""
    draft = draft_of(JobSpec(GenerateRequest(**fields), seeds=(1,), source=source))
    assert draft.span is not None
    assert draft.durations is not None
    return draft.span.start, draft.span.end, draft.durations[0]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (0.0, 0.1, 0.1)),
        ({"audio_duration": 30.0}, (0.0, 30.0, 30.0)),
        ({"audio_duration": 30.0, "repainting_start": 8.0}, (8.0, 30.0, 30.0)),
        ({"audio_duration": 30.0, "repainting_start": 8.0, "repainting_end": 16.0}, (8.0, 16.0, 30.0)),
        ({"repainting_start": 8.0, "repainting_end": 16.0}, (8.0, 16.0, 16.0)),
        ({"audio_duration": 10.0, "repainting_end": 16.0}, (0.0, 16.0, 16.0)),
        ({"audio_duration": 10.0, "repainting_start": -1.0, "repainting_end": 5.0}, (0.0, 6.0, 11.0)),
    ],
)
def test_lego_over_silence_is_as_long_as_the_longest_wish(
    fields: dict[str, Any], expected: tuple[float, float, float]
) -> None:
    assert lengths(SILENCE, task_type="lego", **fields) == pytest.approx(expected)


def test_lego_over_sound_is_extended_by_its_window_alone() -> None:
    fields = {"audio_duration": 30.0, "repainting_end": 16.0}
    assert lengths(SOUND, task_type="lego", **fields) == pytest.approx((0.0, 16.0, 16.0))
    assert lengths(SILENCE, task_type="repaint", **fields) == pytest.approx((0.0, 16.0, 16.0))


def base_limits() -> Limits:
    return server_limits(Settings(models={"source": "folder", "dit": "acestep-v15-base"}))


def test_a_silent_lego_does_not_say_that_its_duration_is_ignored() -> None:
    limits = base_limits()
    request = apply_limits(GenerateRequest(task_type="lego", audio_duration=30), limits)
    assert "audio_duration" not in " ".join(job_draft(request, SILENCE, None, limits).spec.notes)
    assert "audio_duration was ignored" in " ".join(job_draft(request, SOUND, None, limits).spec.notes)


@pytest.mark.parametrize("task_type", ["cover", "repaint"])
async def test_a_silent_source_is_accepted_where_it_is_allowed(
    http: httpx.AsyncClient, service: LocalJobService, task_type: str
) -> None:
    refused = await http.post(GENERATE, data={"task_type": task_type}, files=SILENT_WAV)
    assert refused.status_code == 422
    allowed = {"task_type": task_type, "allowSilentSource": "true"}
    assert (await http.post(GENERATE, data=allowed, files=SILENT_WAV)).status_code == 200
    assert service.last.source is not None
    assert service.last.source.silent


async def test_a_silent_reference_is_refused_all_the_same(http: httpx.AsyncClient) -> None:
    files = {"reference_audio": SILENT_WAV["src_audio"]}
    answer = await http.post(GENERATE, data={"allow_silent_source": "true"}, files=files)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "reference_audio"]


def test_a_track_cannot_be_extracted_from_silence() -> None:
    takes = {
        task.value
        for task in SOURCE_TASKS
        if takes_silence(GenerateRequest(task_type=task, allow_silent_source=True))
    }
    assert takes == {"cover", "repaint", "lego", "complete"}
