"""Several 5Hz LMs in one application: each has a deployment, and requests go to the model that they name."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from ray import serve
from safetensors.torch import load_file, save_file

from configs.settings import LanguageModelSettings, ModelSettings, Settings
from deployments.common.errors import JobError
from deployments.common.messages import AudioCodes, ComposeRequest, Metadata, PlanRequest, Sampling
from deployments.language_model.deployment import LanguageModel
from serve_app.execution.models import HandleModels

NAMES = ("small", "large")
SONG = ComposeRequest("calm piano", "[Instrumental]", Metadata(bpm=90), 12, Sampling(3, cfg_scale=2.0), "pt")
QUESTION = PlanRequest("calm piano", "", "en", Metadata(), True, 30, Sampling(3), "pt")


@pytest.fixture(scope="module")
def models(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> HandleModels:
    """Both deployments run in this process, behind Serve's handles."""
    folder = tmp_path_factory.mktemp("models")
    for index, name in enumerate(NAMES):
        shutil.copytree(checkpoint, folder / name)
        file = folder / name / "model.safetensors"
        weights = {key: weight * (1 - index / 2) for key, weight in load_file(file).items()}
        save_file(weights, file, {"format": "pt"})
    settings = Settings(
        models=ModelSettings(source="folder", folder=folder, language_models=NAMES),
        language_model=LanguageModelSettings(backends=("pt",), threads=1),
    )
    deployment: Any = LanguageModel
    handles = {
        name: serve.run(deployment.bind(settings, name), name=name, _local_testing_mode=True)
        for name in NAMES
    }
    return HandleModels(handles, {}, None)


async def composed(models: HandleModels, name: str) -> tuple[int, ...]:
    (codes,) = [answer async for answer in models.compose(name, SONG) if isinstance(answer, AudioCodes)]
    return codes.codes


async def test_each_song_is_composed_by_the_model_that_it_names(models: HandleModels) -> None:
    small, large = [await composed(models, name) for name in NAMES]
    assert small != large
    assert await composed(models, "small") == small


async def test_metadata_is_planned_by_the_model_that_is_named(models: HandleModels) -> None:
    small, large = [await models.plan(name, QUESTION) for name in NAMES]
    assert small != large


async def test_a_model_that_is_no_longer_served_is_named(models: HandleModels) -> None:
    with pytest.raises(JobError, match="'huge' any more, only small, large"):
        await models.plan("huge", QUESTION)
