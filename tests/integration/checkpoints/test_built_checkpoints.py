"""Checkpoints that the project builds or ships."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from configs.domain import AUDIO_CHANNELS, SAMPLE_RATE, SAMPLES_PER_LATENT
from configs.settings import ModelSettings
from deployments.checkpoints import location
from deployments.checkpoints.catalog import TEXT_ENCODER, VAE, Variant
from deployments.checkpoints.errors import CheckpointError
from deployments.checkpoints.loading import load_dit, load_text_encoder, load_tokenizer, load_vae
from deployments.checkpoints.location import checkpoint_folder

DIT = "acestep-v15-turbo"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    return ModelSettings(source="random", folder=tmp_path_factory.mktemp("models"))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("name", [DIT, VAE, TEXT_ENCODER])
def test_a_checkpoint_is_the_same_wherever_it_is_built(
    models: ModelSettings, tmp_path: Path, name: str
) -> None:
    elsewhere = ModelSettings(source="random", folder=tmp_path)
    assert contents(checkpoint_folder(models, name)) == contents(checkpoint_folder(elsewhere, name))
    assert b"random" in contents(checkpoint_folder(models, name))["README.txt"]


@pytest.mark.slow
def test_several_processes_may_ask_at_once(tmp_path: Path) -> None:
    settings = ModelSettings(source="random", folder=tmp_path)
    with ProcessPoolExecutor(2, get_context("spawn")) as processes:
        folders = list(processes.map(checkpoint_folder, [settings] * 2, [VAE] * 2))
    assert folders == [tmp_path / VAE] * 2
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == [VAE]
    load_vae(folders[0], "cpu", torch.float32)


def test_a_checkpoint_of_an_older_version_is_built_anew(tmp_path: Path) -> None:
    settings = ModelSettings(source="random", folder=tmp_path)
    folder = checkpoint_folder(settings, VAE)
    (folder / "README.txt").write_text("version 0")
    (folder / "config.json").write_text("{}")
    checkpoint_folder(settings, VAE)
    load_vae(folder, "cpu", torch.float32)


def test_the_vae_decodes_at_an_audible_level(models: ModelSettings) -> None:
    vae = load_vae(checkpoint_folder(models, VAE), "cpu", torch.float32)
    latents = torch.randn(
        1, vae.config.decoder_input_channels, 50, generator=torch.Generator().manual_seed(0)
    )
    waveform = vae.decode(latents).sample
    assert waveform.shape == (1, AUDIO_CHANNELS, 50 * SAMPLES_PER_LATENT)
    assert vae.config.sampling_rate == SAMPLE_RATE
    assert torch.isfinite(waveform).all()
    assert 0.03 < waveform.std() < 1.0


@pytest.mark.parametrize("source", ["random", "embedded"])
def test_the_parts_fit_each_other(models: ModelSettings, source: str) -> None:
    models = ModelSettings(source=source, folder=models.folder)
    dit = load_dit(checkpoint_folder(models, DIT), "cpu", torch.float32)
    text_folder = checkpoint_folder(models, TEXT_ENCODER)
    text_encoder = load_text_encoder(text_folder, "cpu", torch.float32)
    vae = load_vae(checkpoint_folder(models, VAE), "cpu", torch.float32)
    assert dit.variant is Variant.TURBO
    assert dit.condition_encoder.config.text_hidden_dim == text_encoder.config.hidden_size
    assert dit.condition_encoder.silence_latent.shape == (1, 15_000, vae.config.decoder_input_channels)
    assert load_tokenizer(text_folder).get_vocab_size() == text_encoder.config.vocab_size


def test_the_embedded_weights_are_small() -> None:
    sizes = [file.stat().st_size for file in location.EMBEDDED.rglob("*.safetensors")]
    assert max(sizes) < 15_000_000
    assert sum(sizes) < 48_000_000


def test_other_names_are_refused(models: ModelSettings) -> None:
    with pytest.raises(CheckpointError, match="acestep-v15-turbo"):
        checkpoint_folder(models, "acestep-v15-base")
