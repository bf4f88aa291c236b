"""A request decides the task, the duration and what the LM is asked (contract §1.3), one test per rule."""

import dataclasses
from typing import Any

import pytest

from configs.domain import INSTRUCTIONS, INSTRUMENTAL, Task
from deployments.common.messages import (
    REPAINT_MODES,
    DiffusionOptions,
    Finish,
    Metadata,
    Morph,
    RepaintMode,
    Retake,
)
from serve_app.request.draft import draft_of
from serve_app.request.planning import (
    FALLBACK_DURATION,
    diffusion_options,
    fallback_plan,
    finish,
    instruction,
    lyrics_for_models,
    morph,
    plan_request,
    repaint_mode,
    retake,
    sampling,
    song_plan,
)
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec, Recording

SOURCE = Recording("file:///source.wav", 20.0)
COMPLETE = {"bpm": 72, "key_scale": "C Major", "time_signature": "4/4", "audio_duration": 30}


def spec(recording: Recording | None = None, codes: tuple[tuple[int, ...], ...] = (), **fields) -> JobSpec:
    return JobSpec(GenerateRequest(**fields), seeds=(7, 8), codes=codes, source=recording)


def question_for(job: JobSpec):
    return plan_request(draft_of(job), lm_max_duration=30)


@pytest.mark.parametrize(
    ("job", "task", "composes"),
    [
        (spec(), Task.TEXT2MUSIC, False),
        (spec(thinking=True), Task.COVER, True),
        (spec(thinking=True, codes=((1, 2), (3, 4))), Task.COVER, False),
        (spec(SOURCE, task_type="cover"), Task.COVER, False),
        (spec(SOURCE, task_type="repaint"), Task.REPAINT, False),
        pytest.param(
            spec(SOURCE, task_type="repaint", thinking=True),
            Task.REPAINT,
            False,
            id="the source is the condition",
        ),
        pytest.param(spec(task_type="cover"), Task.TEXT2MUSIC, False, id="cover of codes without thinking"),
    ],
)
def test_task_of_the_dit_and_who_writes_codes(job: JobSpec, task: Task, composes: bool) -> None:
    draft = draft_of(job)
    assert (draft.task, draft.wants_codes) == (task, composes)


def test_only_missing_metadata_is_asked_for() -> None:
    question = question_for(spec(bpm=72, caption="ballad", vocal_language="ja"))
    assert question.given == Metadata(bpm=72)
    assert question.wants_duration
    assert (question.caption, question.language, question.max_duration) == ("ballad", "ja", 30)


def test_complete_metadata_asks_nothing() -> None:
    assert question_for(spec(**COMPLETE)) is None


@pytest.mark.parametrize("missing", sorted(COMPLETE))
def test_each_missing_field_asks(missing: str) -> None:
    assert question_for(spec(**{name: value for name, value in COMPLETE.items() if name != missing}))


def test_a_source_decides_the_duration() -> None:
    job = spec(SOURCE, task_type="repaint", repainting_start=15, repainting_end=26)
    question = question_for(job)
    assert not question.wants_duration
    assert song_plan(draft_of(job), Metadata(bpm=90), lm_answered=True).durations == (26.0, 26.0)


def test_codes_decide_the_duration_of_each_item() -> None:
    job = spec(codes=((1,) * 50, (2,) * 75), thinking=True)
    assert not question_for(job).wants_duration
    song = song_plan(draft_of(job), Metadata(bpm=90), lm_answered=True)
    assert song.durations == (10.0, 15.0)
    assert song.item_metadata(1) == Metadata(bpm=90, duration=15.0)


def test_a_given_duration_beats_the_codes() -> None:
    job = spec(codes=((1,) * 50, (2,) * 75), thinking=True, audio_duration=12)
    assert draft_of(job).durations == (12.0, 12.0)


def test_the_lm_answers_what_was_missing() -> None:
    planned = Metadata(bpm=72, key_scale="A minor", time_signature="4", duration=25)
    song = song_plan(draft_of(spec(bpm=72)), planned, lm_answered=True)
    assert song.item_metadata(0) == dataclasses.replace(planned, duration=25.0)


def test_with_the_lm_down_given_values_stay_and_the_duration_falls_back() -> None:
    song = fallback_plan(draft_of(spec(bpm=72)), lm_max_duration=600)
    assert song.item_metadata(0) == Metadata(bpm=72, duration=FALLBACK_DURATION)
    assert "language model was not available" in song.notes[0]
    assert not song.lm_answered


def test_with_the_lm_down_the_fallback_keeps_to_its_maximum() -> None:
    assert fallback_plan(draft_of(spec()), lm_max_duration=20).durations == (20.0, 20.0)


@pytest.mark.parametrize("lyrics", ["", "  ", "[inst]", "[Instrumental]", "[INST]"])
def test_instrumental_has_one_spelling(lyrics: str) -> None:
    assert lyrics_for_models(GenerateRequest(lyrics=lyrics)) == INSTRUMENTAL


def test_lyrics_stay_as_written() -> None:
    assert lyrics_for_models(GenerateRequest(lyrics=" [Verse]\nla ")) == " [Verse]\nla "


def test_the_default_instruction_becomes_the_tasks_own() -> None:
    assert instruction(GenerateRequest(), Task.REPAINT) == INSTRUCTIONS[Task.REPAINT]
    assert instruction(GenerateRequest(instruction="Add bells:"), Task.REPAINT) == "Add bells:"


@pytest.mark.parametrize(
    ("task", "fields", "sentence"),
    [
        (Task.LEGO, {"track_name": "drums"}, "Generate the DRUMS track based on the audio context:"),
        (Task.LEGO, {}, "Generate the track based on the audio context:"),
        (Task.EXTRACT, {"track_name": "backing_vocals"}, "Extract the BACKING_VOCALS track from the audio:"),
        (Task.EXTRACT, {"track_classes": ["fx"]}, "Extract the track from the audio:"),
        (Task.COMPLETE, {"track_classes": ["drums", "bass"]}, "Complete the input track with DRUMS | BASS:"),
        (Task.COMPLETE, {"track_name": "fx"}, "Complete the input track:"),
        (Task.COVER, {"track_name": "fx", "track_classes": ["fx"]}, INSTRUCTIONS[Task.COVER]),
        (Task.LEGO, {"track_name": "fx", "instruction": "Add bells:"}, "Add bells:"),
    ],
)
def test_named_tracks_stand_in_the_instruction(task: Task, fields: dict[str, Any], sentence: str) -> None:
    assert instruction(GenerateRequest(**fields), task) == sentence


def test_guidance_of_the_metadata_is_off_unless_asked_for() -> None:
    assert question_for(spec(lm_cfg_scale=3)).sampling.cfg_scale == 1.0
    assert question_for(spec(lm_cfg_scale=3, lm_guide_metadata=True)).sampling.cfg_scale == 3.0


def test_guidance_acts_on_codes_only() -> None:
    request = GenerateRequest(lm_cfg_scale=3.0, lm_temperature=0, lm_top_k=None)
    assert sampling(request, 7, guided=False).cfg_scale == 1.0
    guided = sampling(request, 8, guided=True)
    assert (guided.cfg_scale, guided.seed, guided.temperature, guided.top_k) == (3.0, 8, 0, 0)


def test_every_diffusion_option_is_the_requests_own() -> None:
    options: dict[str, Any] = {
        "inference_steps": 17,
        "guidance_scale": 3.5,
        "audio_cover_strength": 0.7,
        "shift": 2.0,
        "timesteps": (1.0, 0.4),
        "infer_method": "sde",
        "use_adg": True,
        "cfg_interval_start": 0.2,
        "cfg_interval_end": 0.9,
        "cover_noise_strength": 0.3,
        "sampling": "2026-01",
        "sampler_mode": "heun",
        "velocity_norm_threshold": 2.0,
        "velocity_ema_factor": 0.1,
        "dcw_enabled": True,
        "dcw_mode": "low",
        "dcw_scaler": 0.1,
        "dcw_high_scaler": 0.2,
        "dcw_wavelet": "sym8",
        "latent_rescale": 0.9,
        "latent_shift": 0.1,
        "lyric_timestamps": True,
        "chunk_mask_mode": "all",
        "cover_nofsq": True,
    }
    request = GenerateRequest(**options, repaint_mode="conservative")
    assert diffusion_options(request) == DiffusionOptions(
        **options, repaint_mode=REPAINT_MODES["conservative"]
    )
    assert diffusion_options(GenerateRequest()) == DiffusionOptions()
    assert {*options, "repaint_mode"} == {option.name for option in dataclasses.fields(DiffusionOptions)}


def test_the_level_and_the_fades_are_the_requests_own() -> None:
    assert finish(GenerateRequest()) == Finish()
    asked = GenerateRequest(normalization_db=-3, fade_in_duration=0.5, fade_out_duration=2)
    assert finish(asked) == Finish(-3.0, 0.5, 2.0)
    assert finish(GenerateRequest(enable_normalization=False)).peak_db is None


def test_the_words_of_a_morph_are_those_of_its_source() -> None:
    fields: dict[str, Any] = {"flow_edit_morph": True, "flow_edit_source_caption": "a march"}
    source = Recording("file:///source.wav", 5.0)
    asked = GenerateRequest(**fields, flow_edit_n_min=0.25, flow_edit_n_max=0.75, flow_edit_n_avg=2)
    assert morph(JobSpec(asked, (1,), source=source)) == Morph("a march", INSTRUMENTAL, 0.25, 0.75, 2)
    with_words = GenerateRequest(**fields, flow_edit_source_lyrics="left, right", task_type="cover")
    assert morph(JobSpec(with_words, (1,), source=source)) == Morph("a march", "left, right")
    assert morph(JobSpec(asked, (1,))) is None
    repaint = GenerateRequest(**fields, task_type="repaint")
    assert morph(JobSpec(repaint, (1,), source=source)) is None


def test_each_item_of_a_retake_has_a_seed_of_its_own() -> None:
    varied = JobSpec(GenerateRequest(retake_variance=0.3), (1, 2), retake_seeds=(7, 8))
    assert [retake(varied, item) for item in (0, 1)] == [Retake(7, 0.3), Retake(8, 0.3)]
    assert retake(JobSpec(GenerateRequest(), (1,)), 0) is None


@pytest.mark.parametrize(
    ("strength", "mode"),
    [
        (0.0, REPAINT_MODES["conservative"]),
        (0.25, RepaintMode(0.75, 19, 0.0375)),
        (0.5, REPAINT_MODES["balanced"]),
        (1.0, REPAINT_MODES["aggressive"]),
    ],
)
def test_the_strength_of_a_repaint_lies_between_the_modes(strength: float, mode: RepaintMode) -> None:
    found = repaint_mode(GenerateRequest(repaint_strength=strength))
    assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(mode))
    assert (
        repaint_mode(GenerateRequest(repaint_strength=strength, repaint_mode="aggressive"))
        == (REPAINT_MODES["aggressive"])
    )
