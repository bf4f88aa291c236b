"""Builds the benchmark's models: all parts of the real ones, with some 100 M random parameters in all.

DiT, language model and text encoder have the layouts of the official 2B turbo model, the 1.7B language model
and Qwen3-Embedding, with 3/16 of their widths and at most half of their layers. Without the language model's
vocabulary, DiT and language model are equally large, as the official ones are. The vocabulary does not
shrink, because its 64,000 codes belong to the format; it holds a quarter of all parameters here. The VAE
keeps its latents and rates. Its width is chosen so that decoding takes 0.38 of the arithmetic of denoising
(officially 0.39: 122 of 311 GFLOP for each second of a song of 60 s).
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import random_language_model
from benchmarks.dit_config import dit_config
from configs.domain import AUDIO_CHANNELS, SAMPLE_RATE
from configs.settings import ModelSettings
from deployments.tiny_checkpoints.music_models import (
    random_vae,
    write_random_dit,
    write_random_text_encoder,
    write_random_vae,
)

WIDTH = 384
LAYERS = 12
VAE_WIDTH = 24
LATENT_CHANNELS = 64
TEXT_TOKENS = 1024
"""Text tokens of the language model's vocabulary, without control tokens and codes."""
FORMAT = "1"
"""Version of the checkpoints' layout. Folders with another version are built anew."""

_TEXT_WIDTH = WIDTH // 2

_VAE_CONFIG: dict[str, Any] = {
    "_class_name": "AutoencoderOobleck",
    "audio_channels": AUDIO_CHANNELS,
    "channel_multiples": [1, 1, 2, 2, 2],
    "decoder_channels": VAE_WIDTH,
    "decoder_input_channels": LATENT_CHANNELS,
    "downsampling_ratios": [2, 4, 4, 6, 10],
    "encoder_hidden_size": 2 * LATENT_CHANNELS,
    "sampling_rate": SAMPLE_RATE,
}

_TEXT_ENCODER_SIZES = {
    "hidden_size": _TEXT_WIDTH,
    "intermediate_size": 3 * _TEXT_WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": _TEXT_WIDTH // 64,
    "num_key_value_heads": max(1, _TEXT_WIDTH // 128),
    "head_dim": 128,
}


def benchmark_models(folder: Path) -> ModelSettings:
    """Return the settings of the checkpoints in `folder`. Missing checkpoints are built there first."""
    models = ModelSettings(source="folder", folder=folder)
    label = folder / "FORMAT"
    if not label.exists() or label.read_text() != FORMAT:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            aside = Path(name) / "models"
            _build(aside, models)
            (aside / "FORMAT").write_text(FORMAT)
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)
    return models


def million_parameters(models: ModelSettings) -> dict[str, float]:
    """Return the million parameters of each part, read from the headers of the weight files."""
    from deployments.checkpoints.weights import read_headers

    def count(name: str) -> float:
        files = sorted((models.folder / name).glob("*.safetensors"))
        return round(sum(header.size for header in read_headers(files).values()) / 1e6, 1)

    without, vocabulary = random_language_model.million_parameters(models.folder / models.language_models[0])
    return {
        "DiT with its encoders": count(models.dits[0]),
        "LM": round(without, 1),
        "LM's vocabulary": round(vocabulary, 1),
        "text encoder": count(models.text_encoder),
        "VAE": count(models.vae),
    }


def _build(folder: Path, models: ModelSettings) -> None:
    parts = {name: folder / name for name in (models.dits[0], models.vae, models.text_encoder)}
    language_model = folder / models.language_models[0]
    for part in (*parts.values(), language_model):
        part.mkdir(parents=True)
    write_random_dit(parts[models.dits[0]], dit_config(LAYERS, WIDTH), random_vae(_VAE_CONFIG))
    write_random_vae(parts[models.vae], _VAE_CONFIG)
    write_random_text_encoder(parts[models.text_encoder], _TEXT_ENCODER_SIZES)
    random_language_model.build(language_model, LAYERS, WIDTH, TEXT_TOKENS)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    models = benchmark_models(parser.parse_args().folder)
    parts = million_parameters(models)
    print(*(f"{count:6.1f} M  {name}" for name, count in parts.items()), sep="\n")
    print(f"{sum(parts.values()):6.1f} M  in all")


if __name__ == "__main__":
    main()
