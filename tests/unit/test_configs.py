"""serve_config.yaml and the presets agree with Serve's schema and with our settings."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from ray.serve.schema import ServeDeploySchema

from configs.settings import Settings
from deployments.checkpoints.catalog import HUB_REPOS, OFFICIAL_DITS, OFFICIAL_LANGUAGE_MODELS, Variant
from tests.presets import (
    CPU,
    EMBEDDED,
    KUBERAY,
    MULTI_GPU_NODE,
    PRESETS,
    SECTIONS,
    SINGLE_GPU,
    application,
    arguments,
    engines,
    num_gpus,
)


def test_there_are_presets():
    assert {preset.stem for preset in PRESETS} == {
        "single_gpu_24gb",
        "single_gpu_80gb",
        "multi_gpu_node",
        "cluster",
    }


@pytest.mark.parametrize("config", [EMBEDDED, CPU, *PRESETS], ids=lambda path: path.stem)
def test_serve_and_the_settings_accept_the_file(config: Path):
    found = application(config)
    assert found.import_path == "serve_app.app:build"
    models = Settings(**arguments(config)).models
    bound = {*models.generator_deployments.values(), *models.language_model_deployments.values()}
    assert {deployment.name for deployment in found.deployments} == {"Ingress", "Codec", *bound}


@pytest.mark.parametrize("config", [EMBEDDED, CPU, *SINGLE_GPU, MULTI_GPU_NODE], ids=lambda path: path.stem)
def test_only_this_machine_is_served_unless_the_operator_says_otherwise(config: Path):
    http = ServeDeploySchema.model_validate(yaml.safe_load(config.read_text())).http_options
    assert (http.host, http.port) == ("127.0.0.1", 8001)


@pytest.mark.parametrize("config", [EMBEDDED, CPU], ids=lambda path: path.stem)
def test_without_a_gpu_one_core_is_enough(config: Path):
    settings = Settings(**arguments(config))
    assert not settings.uses_gpu
    assert {getattr(settings, section).device for section in SECTIONS.values()} == {"cpu"}
    assert sum(num_gpus(config).values()) == 0
    options = [deployment.ray_actor_options.num_cpus for deployment in application(config).deployments]
    assert sum(options) <= 1


def test_the_default_is_the_embedded_model():
    assert Settings(**arguments(EMBEDDED)).models.source == "embedded"


@pytest.mark.parametrize("preset", [CPU, *PRESETS], ids=lambda path: path.stem)
def test_presets_name_official_checkpoints(preset: Path):
    models = Settings(**arguments(preset)).models
    assert models.source in {"hub", "folder"}
    assert set(models.dits) <= set(OFFICIAL_DITS)
    assert set(models.language_models) <= set(OFFICIAL_LANGUAGE_MODELS)
    assert {models.vae, models.text_encoder} <= set(HUB_REPOS)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_whatever_runs_on_the_gpu_has_a_share_of_it(preset: Path):
    settings, shares = Settings(**arguments(preset)), num_gpus(preset)
    for deployment, section in engines(preset).items():
        assert (getattr(settings, section).device == "cuda") == (shares[deployment] > 0)
    assert settings.language_model.gpu_memory_utilization <= shares["LanguageModel"]


def test_one_preset_has_a_turbo_and_a_base_dit_side_by_side():
    variants = [
        {OFFICIAL_DITS[name].variant for name in Settings(**arguments(preset)).models.dits}
        for preset in PRESETS
    ]
    assert {Variant.TURBO, Variant.BASE} in variants


def test_a_misspelt_setting_is_refused():
    with pytest.raises(ValidationError, match="tile_frame"):
        Settings(codec={"tile_frame": 256})


@pytest.mark.parametrize(("seconds", "needed"), [(600, 4_024), (60, 1_324)])
def test_the_context_has_room_for_the_longest_song_and_a_prompt(seconds: float, needed: int):
    api = {"max_duration": seconds}
    assert Settings(api=api, language_model={"max_model_len": needed}).language_model.max_model_len == needed
    with pytest.raises(ValidationError, match=f"raise it to {needed}"):
        Settings(api=api, language_model={"max_model_len": needed - 1})


def test_the_language_model_chooses_no_longer_song_than_the_server_makes():
    with pytest.raises(ValidationError, match="lm_max_duration"):
        Settings(api={"max_duration": 60}, language_model={"lm_max_duration": 61})


@pytest.mark.parametrize("config", [EMBEDDED, CPU, *PRESETS, KUBERAY], ids=lambda path: path.stem)
def test_no_preset_holds_a_password(config: Path):
    assert not re.search(r"://[^/@\s]*:[^/@\s]*@", config.read_text())


@pytest.mark.parametrize(
    ("section", "instead"),
    [
        ({"jobs": {"store": "redis://:hunter2@redis:6379/0"}}, "ACESTEP_REDIS_PASSWORD"),
        ({"jobs": {"store": "rediss://app:hunter2@redis:6379/0"}}, "ACESTEP_REDIS_PASSWORD"),
        ({"jobs": {"store": "redis://redis:6379/0?password=hunter2"}}, "ACESTEP_REDIS_PASSWORD"),
        ({"storage": {"uri": "s3://key:hunter2@songs"}}, "AWS_SECRET_ACCESS_KEY"),
        ({"storage": {"uri": "sftp://app:hunter2@host/songs"}}, "environment"),
    ],
)
def test_a_password_in_a_config_file_is_refused_without_repeating_it(section: dict[str, Any], instead: str):
    with pytest.raises(ValidationError, match=instead) as refusal:
        Settings(**section)
    assert "hunter2" not in str(refusal.value)


def test_a_user_may_stand_in_a_url():
    assert Settings(jobs={"store": "redis://app@redis:6379/0"}).jobs.store == "redis://app@redis:6379/0"


@pytest.mark.parametrize(
    "origin", ["*", "studio.example", "https://*.example", "https://studio.example/", "https://studio.*", ""]
)
def test_web_origins_are_named_one_by_one(origin: str):
    with pytest.raises(ValidationError, match="is no origin"):
        Settings(api={"cors_origins": [origin]})


@pytest.mark.parametrize("origin", ["https://studio.example", "http://localhost:*", "http://[::1]:*", "null"])
def test_the_port_of_an_origin_may_be_any(origin: str):
    assert Settings(api={"cors_origins": [origin]}).api.cors_origins == (origin,)


def test_only_s3_takes_downloads_over():
    assert Settings(storage={"uri": "s3://songs", "redirect_seconds": 60}).storage.redirect_seconds == 60
    with pytest.raises(ValidationError, match="s3://"):
        Settings(storage={"uri": "output", "redirect_seconds": 60})


@pytest.mark.parametrize(
    "contradiction",
    [
        {"api": {"default_batch_size": 9}},
        {"jobs": {"heartbeat_seconds": 16.0}},
        {"jobs": {"lease_seconds": 1.5}},
    ],
)
def test_settings_that_would_break_every_job_are_refused(contradiction: dict[str, dict[str, float]]):
    with pytest.raises(ValidationError, match="is above"):
        Settings(**contradiction)
