"""The work of a request, one row per rule."""

from dataclasses import replace
from typing import Any

import pytest

from configs.domain import NEWEST_SAMPLING
from configs.settings import ModelSettings, Settings
from deployments.checkpoints.catalog import OFFICIAL_DITS, Variant
from deployments.common.messages import STAGES
from deployments.generator.model_arithmetic import ModelArithmetic
from deployments.generator.schedules import schedule
from serve_app.request.capabilities import Limits, server_limits
from serve_app.request.draft import draft_of
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec, Recording
from serve_app.request.workload import denoising_rows, job_work

METADATA = {"bpm": 100, "key_scale": "C Major", "time_signature": "4/4"}
TURBO, BASE, SFT = (OFFICIAL_DITS[f"acestep-v15-{name}"] for name in ("turbo", "base", "sft"))


@pytest.fixture(scope="module")
def limits() -> Limits:
    return server_limits(Settings())


def spec(items: int = 1, source: float | None = None, **fields: Any) -> JobSpec:
    recording = None if source is None else Recording("memory://source", source)
    return JobSpec(GenerateRequest(**fields), seeds=tuple(range(items)), source=recording)


@pytest.mark.parametrize(
    ("job", "calls", "units"),
    [
        (spec(audio_duration=10, **METADATA), (0, 0, 1, 1, 1), (0, 0, 80, 10, 10)),
        (spec(audio_duration=10), (1, 0, 1, 1, 1), (0, 0, 80, 10, 10)),
        (spec(2, audio_duration=10, thinking=True), (1, 1, 1, 1, 1), (0, 100, 160, 20, 20)),
        (spec(audio_duration=10.1, thinking=True), (1, 1, 1, 1, 1), (0, 51, 80.96, 10.12, 10.1)),
        (spec(audio_duration=1, **METADATA), (0, 0, 1, 1, 1), (0, 0, 8 * 5.12, 5.12, 1)),
        (spec(thinking=True), (1, 1, 1, 1, 1), (0, 150, 240, 30, 30)),
        (spec(source=20.0, task_type="cover", thinking=True), (1, 0, 1, 1, 1), (0, 0, 160, 20, 20)),
        (
            spec(source=20.0, task_type="repaint", repainting_end=30.0),
            (1, 0, 1, 1, 1),
            (0, 0, 240, 30, 30),
        ),
    ],
    ids=[
        "metadata given",
        "metadata asked for",
        "codes",
        "tenths",
        "shortest",
        "length unknown",
        "cover",
        "longer",
    ],
)
def test_work_by_stage(
    limits: Limits, job: JobSpec, calls: tuple[float, ...], units: tuple[float, ...]
) -> None:
    work = job_work(draft_of(job), limits)
    assert (work.jobs, work.calls, work.models) == (1, calls, {})
    assert work.units == pytest.approx(units)


def test_the_work_is_that_of_the_checkpoints_that_the_request_names() -> None:
    dits = ("acestep-v15-turbo", "acestep-v15-base")
    several = server_limits(Settings(models=ModelSettings(dits=dits, language_models=("small", "large"))))
    base = {"model": "acestep-v15-base", "inference_steps": 50}
    work = job_work(
        draft_of(spec(2, audio_duration=10, thinking=True, lm_model_path="large", **base)), several
    )
    assert work.models == {
        "planning/large": (1, 0, 0),
        "composing/large": (1, 100, 50),
        "denoising/acestep-v15-base": (1, 2000, 1000),
    }
    assert work.units[STAGES.index("denoising")] == 2000
    defaults = job_work(draft_of(spec(audio_duration=10, **METADATA)), several)
    assert defaults.models == {"denoising/acestep-v15-turbo": (1, 80, 80)}


def test_given_codes_are_not_composed_and_decide_the_length(limits: Limits) -> None:
    job = replace(spec(2, thinking=True), codes=((1,) * 100, (1,) * 200))
    work = job_work(draft_of(job), limits)
    assert work.calls[STAGES.index("composing")] == 0
    assert work.audio_seconds == pytest.approx(60)
    assert work.item_units[STAGES.index("decoding")] == pytest.approx(40)


def test_an_unknown_length_is_no_longer_than_the_lm_may_choose(limits: Limits) -> None:
    assert job_work(draft_of(spec()), replace(limits, lm_max_duration=12)).audio_seconds == 12


@pytest.mark.parametrize(
    ("dit", "fields", "rows"),
    [
        (TURBO, {"inference_steps": 5, "guidance_scale": 9}, 5),
        (TURBO, {"inference_steps": 50}, 20),
        (TURBO, {"inference_steps": 50, "sampling": "2026-01"}, 8),
        (TURBO, {"sampler_mode": "heun"}, 15),
        (TURBO, {"sampler_mode": "heun", "infer_method": "sde"}, 8),
        (TURBO, {"timesteps": "1,0.7,0.4,0"}, 3),
        (BASE, {"inference_steps": 50}, 100),
        (BASE, {"inference_steps": 50, "guidance_scale": 1}, 50),
        (BASE, {"inference_steps": 10, "cfg_interval_start": 0.55}, 15),
        (BASE, {"inference_steps": 10, "sampler_mode": "heun"}, 40),
        (BASE, {"inference_steps": 10, "sampler_mode": "heun", "cfg_interval_start": 0.55}, 20 + 5 + 4),
        (BASE, {"inference_steps": 10, "timesteps": "1,0.5", "guidance_scale": 1}, 2),
        (
            BASE,
            {"inference_steps": 10, "timesteps": "1,0.5", "guidance_scale": 1, "sampling": "2026-01"},
            10,
        ),
        (SFT, {"inference_steps": 10, "timesteps": "1,0.5", "guidance_scale": 1}, 2),
    ],
)
def test_the_dit_is_asked_once_a_step_and_twice_under_guidance(dit, fields, rows: int) -> None:
    assert denoising_rows(spec(**fields), dit) == rows


@pytest.mark.parametrize(
    ("dit", "fields", "rows"),
    [
        (TURBO, {}, 16),
        (TURBO, {"flow_edit_n_avg": 3}, 48),
        (TURBO, {"flow_edit_n_min": 0.25, "flow_edit_n_max": 0.5}, 2 * 2 + 4),
        (TURBO, {"flow_edit_n_min": 0.5, "flow_edit_n_max": 0.25}, 4),
        (BASE, {"inference_steps": 10}, 40),
    ],
)
def test_a_morph_asks_for_its_source_too(dit, fields, rows: int) -> None:
    morph = spec(source=20.0, flow_edit_morph=True, sampler_mode="heun", **fields)
    assert denoising_rows(morph, dit) == rows


@pytest.mark.parametrize("variant", list(Variant))
@pytest.mark.parametrize("strength", [0.0, 0.2, 0.5, 0.83, 1.0])
@pytest.mark.parametrize("shift", [None, 1.0, 3.0])
def test_a_source_under_noise_takes_the_place_of_as_many_steps_as_the_generator_leaves_out(
    variant: Variant, strength: float, shift: float | None
) -> None:
    dit = {Variant.TURBO: TURBO, Variant.BASE: BASE, Variant.SFT: SFT}[variant]
    fields = {"cover_noise_strength": strength, "shift": shift, "inference_steps": 30, "guidance_scale": 1}
    asked = dit.shift(shift, NEWEST_SAMPLING)
    run = schedule(variant, 30, asked, begin=1.0 - strength, arithmetic=ModelArithmetic())
    assert denoising_rows(spec(source=20.0, task_type="cover", **fields), dit) == len(run)
