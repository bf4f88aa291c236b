"""`generation_info` reports what was really done."""

import json
from typing import Any

import pytest

from configs.settings import ModelSettings, Settings
from deployments.checkpoints.catalog import OFFICIAL_DITS
from deployments.common.marks import Asked, Marks
from deployments.common.messages import (
    AudioFile,
    Metadata,
    TimedLyrics,
    TimedText,
    Untimed,
    UsedAdapter,
    UsedOptions,
)
from serve_app.execution.results import job_result, song_marks
from serve_app.jobs.model import Job, Place
from serve_app.jobs.shown import JobResult
from serve_app.request.draft import draft_of
from serve_app.request.planning import song_plan
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec, Recording
from serve_app.request.work import Work


def generation_info(
    dit: str, steps: int, *timesteps: float, source: Recording | None = None, **fields: Any
) -> str:
    spec = JobSpec(GenerateRequest(**fields), seeds=(7,), source=source)
    scale = fields.get("guidance_scale", 7.0) if OFFICIAL_DITS[dit].takes_guidance else None
    return str(
        result_of(spec, steps, scale, *timesteps, models=ModelSettings(dits=(dit,)))["generation_info"]
    )


def result_of(
    spec: JobSpec,
    steps: int,
    scale: float | None,
    *timesteps: float,
    models: ModelSettings,
    is_corrected: bool = False,
    untimed: Untimed | None = None,
    timed: TimedLyrics | None = None,
    adapters: tuple[UsedAdapter, ...] = (),
) -> dict[str, Any]:
    """The result of a job whose latents came back with these steps, scale and timesteps."""
    job = Job("id", spec, Work(), Place(0, 0.0, 1), created_at=0.0)
    used = UsedOptions(
        steps,
        scale,
        timesteps=timesteps,
        is_corrected=is_corrected,
        untimed=untimed,
        adapters=adapters,
    )
    song = song_plan(draft_of(job.spec), Metadata(duration=5.0), lm_answered=False)
    settings = Settings(models=models)
    marks = song_marks(job, song, [None], used.adapters, settings)
    file = AudioFile("file:///0.mp3", 1, sha256="ab", kinds=("ID3", "XMP"))
    return job_result(job, song, [None], [used], [file], marks, {"denoising": 1.0}, settings, [timed])


def test_the_adapters_are_those_that_were_used() -> None:
    adapters = (UsedAdapter("folk", 0.5, "a" * 64), UsedAdapter("bare", 1.0, "b" * 64, ("It is weak.",)))
    spec, models = JobSpec(GenerateRequest(), seeds=(7,)), ModelSettings(dits=("acestep-v15-turbo",))
    result = result_of(spec, 8, None, models=models, adapters=adapters)
    assert result["adapters"] == [
        {"name": "folk", "scale": 0.5, "sha256": "a" * 64},
        {"name": "bare", "scale": 1.0, "sha256": "b" * 64},
    ]
    assert "; Adapters: folk × 0.5 (aaaaaaaa), bare × 1 (bbbbbbbb); " in result["generation_info"]
    assert "bare: It is weak." in result["status_message"]
    assert result_of(spec, 8, None, models=models)["adapters"] == []


@pytest.mark.parametrize("dit", ["acestep-v15-turbo", "acestep-v15-base"])
def test_it_begins_like_the_documents(dit: str) -> None:
    assert generation_info(dit, 8).startswith("Steps: 8, Scale: 7.0, Seeds: 7; ")


@pytest.mark.parametrize(
    ("dit", "asked", "shift"),
    [
        ("acestep-v15-turbo", None, 3.0),
        ("acestep-v15-turbo", 1.4, 1.4),
        ("acestep-v15-turbo-shift1", None, 1.0),
        ("acestep-v15-base", None, 1.0),
        ("acestep-v15-sft", 2.6, 2.6),
    ],
)
def test_the_shift_is_the_one_that_was_run(dit: str, asked: float | None, shift: float) -> None:
    assert f"; Shift: {shift}, Method: ode;" in generation_info(dit, 8, shift=asked)


def test_a_distilled_model_says_that_it_has_most_steps_and_takes_no_guidance() -> None:
    info = generation_info("acestep-v15-turbo", 20, inference_steps=50, infer_method="sde")
    assert "Method: sde" in info
    assert "ran 20 steps, its most, instead of 50" in info
    assert "Scale has no effect" in info
    assert "instead of" not in generation_info("acestep-v15-turbo", 16, inference_steps=16)


def test_in_2026_01_a_distilled_model_ran_its_own_steps_and_shift() -> None:
    info = generation_info("acestep-v15-turbo", 8, inference_steps=16, shift=2.6, sampling="2026-01")
    assert "; Shift: 3.0, " in info
    assert "ran its trained 8 steps instead of 16" in info
    assert "; Sampling: 2026-01, DCW: off; " in info


def test_the_sampling_and_its_options_are_shown_as_they_were_run() -> None:
    settings = ModelSettings(dits=("acestep-v15-turbo",))

    def shown(is_corrected: bool = True, **fields: Any) -> str:
        spec = JobSpec(GenerateRequest(**fields), seeds=(7,), retake_seeds=(9,) if fields else ())
        result = result_of(spec, 8, None, models=settings, is_corrected=is_corrected)
        assert result["sampling"] == "2026-08"
        return str(result["generation_info"]).split("; ")[2]

    assert shown() == "Sampling: 2026-08, DCW: double 0.05 0.02 haar"
    assert shown(is_corrected=False) == "Sampling: 2026-08, DCW: off"
    assert shown(
        dcw_mode="low",
        dcw_wavelet="db4",
        sampler_mode="heun",
        velocity_norm_threshold=2,
        velocity_ema_factor=0.1,
        latent_rescale=0.9,
        latent_shift=-0.1,
        retake_variance=0.3,
    ) == (
        "Sampling: 2026-08, DCW: low 0.05 db4, Sampler: heun, Velocity norm: 2, Velocity EMA: 0.1, "
        "Latents: × 0.9 + -0.1, Retake: 0.3 of seeds 9"
    )


def test_other_models_have_nothing_to_excuse() -> None:
    info = generation_info("acestep-v15-sft", 50, inference_steps=50)
    assert info.startswith("Steps: 50, Scale: 7.0")
    assert "distilled" not in info


def test_a_schedule_of_the_users_own_is_shown_as_it_was_run() -> None:
    info = generation_info("acestep-v15-turbo", 3, 1.0, 0.9, 0.5454545, timesteps="1,0.91,0.55,0")
    assert info.startswith("Steps: 3,")
    assert "; Timesteps: 1 0.9 0.5455, Method: ode;" in info
    assert "instead of" not in info


def test_a_model_that_runs_its_own_schedule_shows_its_shift() -> None:
    info = generation_info("acestep-v15-base", 8, timesteps="1,0.5", sampling="2026-01")
    assert "; Shift: 1.0, " in info


def test_steps_that_the_source_took_are_explained() -> None:
    source = Recording("file:///source.wav", 5.0)
    info = generation_info("acestep-v15-base", 4, source=source, task_type="cover", cover_noise_strength=0.5)
    assert info.startswith("Steps: 4,")
    assert "4 were left" in info
    assert "were left" not in generation_info("acestep-v15-base", 8, source=source, task_type="cover")


def test_the_dit_is_the_one_that_the_job_asked_for() -> None:
    spec = JobSpec(GenerateRequest(), seeds=(7,), dit="acestep-v15-base")
    models = ModelSettings(dits=("acestep-v15-turbo", "acestep-v15-base"))
    asked = result_of(spec, 50, 7.0, models=models)
    assert asked["dit_model"] == "acestep-v15-base"
    assert "DiT: acestep-v15-base," in asked["generation_info"]
    of_an_earlier_release = result_of(JobSpec(GenerateRequest(), seeds=(7,)), 8, None, models=models)
    assert of_an_earlier_release["dit_model"] == "acestep-v15-turbo"


def test_the_language_model_is_the_one_that_the_job_asked_for() -> None:
    assert "LM: acestep-5Hz-lm-0.6B" in generation_info("acestep-v15-turbo", 8)
    info = generation_info("acestep-v15-turbo", 8, lm_model_path="acestep-5Hz-lm-4B")
    assert "LM: acestep-5Hz-lm-4B" in info


ASKED = JobSpec(GenerateRequest(lyrics="La", lyric_timestamps=True), seeds=(7,))


def test_the_times_of_the_lyrics_are_part_of_the_result() -> None:
    line = TimedText("La", 0.5, 1.5)
    timed = TimedLyrics((line,), (line,), "[00:00.50]La", score=0.75, condition_score=0.25)
    result = result_of(ASKED, 8, None, models=ModelSettings(), timed=timed)
    spoken = {"text": "La", "start": 0.5, "end": 1.5}
    assert json.loads(json.dumps(result["lyric_timestamps"])) == [
        {
            "lrc": "[00:00.50]La",
            "lines": [spoken],
            "tokens": [spoken],
            "score": 0.75,
            "condition_score": 0.25,
        }
    ]
    del result["provenance"]  # It is told by an address of its own.
    assert JobResult.model_validate(result).lyric_timestamps is not None


def test_a_result_has_no_times_that_were_not_asked_for() -> None:
    spec = JobSpec(GenerateRequest(lyrics="La"), seeds=(7,))
    assert result_of(spec, 8, None, models=ModelSettings())["lyric_timestamps"] is None


@pytest.mark.parametrize(
    ("untimed", "words"),
    [
        ("model", "lyric_timestamps was ignored: acestep-v15-turbo has no attention that follows lyrics."),
        ("instrumental", "lyric_timestamps was ignored: nothing is sung."),
        ("memory", "Lyric timestamps are missing: the song and its lyrics are too long for the memory"),
    ],
)
def test_a_note_says_why_there_are_no_times(untimed: Untimed, words: str) -> None:
    models = ModelSettings(dits=("acestep-v15-turbo",))
    result = result_of(ASKED, 8, None, models=models, untimed=untimed)
    assert words in result["status_message"]
    assert result["lyric_timestamps"] == [None]


def test_each_song_keeps_what_its_marks_tell() -> None:
    models = ModelSettings(dits=("acestep-v15-turbo",))
    song = result_of(JobSpec(GenerateRequest(caption="x"), seeds=(7,)), 8, None, models=models)
    repaint = JobSpec(
        GenerateRequest(task_type="repaint", repainting_end=2.0, audio_duration=5.0),
        seeds=(9,),
        source=Recording("file:///source.wav", 5.0),
    )
    (made,) = song["provenance"]
    assert made["generator"].startswith("acestep-serve ")
    assert (made["seed"], made["dit_model"], made["lm_model"]) == (7, "acestep-v15-turbo", None)
    assert (made["marks"], made["sha256"]) == (["ID3", "XMP"], "ab")
    assert made["digital_source_type"].endswith("/trainedAlgorithmicMedia")
    (renewed,) = result_of(repaint, 8, None, models=models)["provenance"]
    assert renewed["digital_source_type"].endswith("/compositeWithTrainedAlgorithmicMedia")


def test_the_marks_name_the_adapters_with_their_scales() -> None:
    job = Job("id", JobSpec(GenerateRequest(), seeds=(7, 8)), Work(), Place(0, 0.0, 1), 0.0)
    song = song_plan(draft_of(job.spec), Metadata(duration=5.0), lm_answered=False)
    adapters = (UsedAdapter("folk", 0.5, "a" * 64), UsedAdapter("bare", -1.0, "b" * 64))
    made = song_marks(job, song, [None, None], adapters, Settings())
    assert [marks.facts["ADAPTERS"] for marks in made] == ["folk 0.5, bare -1"] * 2
    (plain, _) = song_marks(job, song, [None, None], (), Settings())
    assert "ADAPTERS" not in plain.facts


def test_the_request_goes_into_the_marks_only_where_it_says_so() -> None:
    def marks(**fields: Any) -> Marks:
        job = Job("id", JobSpec(GenerateRequest(**fields), seeds=(7,)), Work(), Place(0, 0.0, 1), 0.0)
        song = song_plan(draft_of(job.spec), Metadata(duration=5.0), lm_answered=True)
        (made,) = song_marks(job, song, [None], (), Settings())
        return made

    assert marks(caption="piano", lyrics="la").asked is None
    assert marks(caption="piano", lyrics="la", embed_request=True).asked == Asked("id", "piano", "la")
    assert marks(sample_query="a sad song", embed_request=True).asked == Asked("id", "a sad song", "")
    assert marks().lm_model == "acestep-5Hz-lm-0.6B"
