from pathlib import Path

import pytest
import torch

from configs.settings import CodecSettings, ModelSettings, Settings
from deployments.checkpoints.loading import load_vae
from deployments.checkpoints.location import checkpoint_folder
from deployments.codec.engine import VaeEngine

TILE_FRAMES = 64


@pytest.fixture(scope="session")
def codec_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        models=ModelSettings(source="random", folder=tmp_path_factory.mktemp("models")),
        codec=CodecSettings(tile_frames=TILE_FRAMES, tile_batch=2),
    )


@pytest.fixture(scope="session")
def vae_folder(codec_settings: Settings) -> Path:
    return checkpoint_folder(codec_settings.models, codec_settings.models.vae)


@pytest.fixture(scope="session")
def engine(vae_folder: Path) -> VaeEngine:
    return VaeEngine(load_vae(vae_folder, "cpu", torch.float32), tile_frames=TILE_FRAMES)
