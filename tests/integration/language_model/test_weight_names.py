"""Checkpoints with the weight names of a bare Qwen3Model load in every backend."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from configs.settings import Backend, LanguageModelSettings
from deployments.common.messages import AudioCodes, ComposeRequest, Metadata, Sampling
from deployments.language_model.engine import LanguageModelEngine

REQUEST = ComposeRequest("calm piano", "[Instrumental]", Metadata(bpm=90), 20, Sampling(3, cfg_scale=2.0))


@pytest.fixture(scope="module")
def bare(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare-lm")
    shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
    weights = load_file(folder / "model.safetensors")
    assert all(name.startswith("model.") for name in weights)
    bare_names = {name.removeprefix("model."): weight for name, weight in weights.items()}
    save_file(bare_names, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["Qwen3Model"]}))
    return folder


async def codes(engine: LanguageModelEngine, backend: Backend) -> tuple[int, ...]:
    request = ComposeRequest(**{**vars(REQUEST), "backend": backend})
    (result,) = [answer async for answer in engine.compose(request) if isinstance(answer, AudioCodes)]
    return result.codes


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["vllm", "pt"])
async def test_bare_weight_names_are_the_same_model(
    engine: LanguageModelEngine, bare: Path, backend: Backend
) -> None:
    other = LanguageModelEngine(bare, LanguageModelSettings(backends=(backend,), threads=1))
    try:
        assert await codes(other, backend) == await codes(engine, backend)
    finally:
        other.close()
