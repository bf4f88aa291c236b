"""Writes the trained modules as checkpoints in the original layout, in half precision and small shards."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict

from deployments.checkpoints.catalog import TEXT_ENCODER, TRAINED_TASKS
from deployments.checkpoints.key_map import SILENCE_FILE, Component, to_original
from deployments.tiny_checkpoints.music_models import SILENCE_FRAMES
from deployments.tiny_checkpoints.tokenizer import END_OF_TEXT, save_tokenizer
from training.chunk import Chunk
from training.codes import trained_codes
from training.data import SongBlocks
from training.files import MODELS, write_json
from training.latents import Latents
from training.prompting import text_tokenizer
from training.recipe import Recipe
from training.song_writer import EMBEDDINGS, trained_song_writer, vocabulary
from training.teacher import trained_miniature
from training.turbo import WEIGHTS

DIT = "acestep-v15-turbo"
LANGUAGE_MODEL = "acestep-5Hz-lm-0.6B"
_SHARD = "14MB"


def export(songs: SongBlocks, recipe: Recipe, work: Path, _chunk: Chunk) -> bool:
    """Write the DiT, text encoder and language model beside the codec in `work/models`.

    `models.source: folder` loads them from there.
    """
    silence = Latents(work / "latents", songs).silence
    miniature = trained_miniature(work / WEIGHTS, recipe, silence)
    codebook = trained_codes(recipe, work, torch.device("cpu"))
    parts: dict[Component, torch.nn.Module] = {
        Component.TRANSFORMER: miniature.transformer,
        Component.CONDITION_ENCODER: miniature.condition_encoder,
        Component.AUDIO_TOKENIZER: codebook.tokenizer,
        Component.AUDIO_TOKEN_DETOKENIZER: codebook.detokenizer,
    }
    models = work / MODELS
    state = {
        to_original(component, name): tensor
        for component, module in parts.items()
        for name, tensor in module.state_dict().items()
    }
    save(models / DIT, state, recipe.dit)
    # Every frame of silence is equal, so the view of 15,000 frames is stored as a single frame.
    torch.save(silence[None, :, None].expand(1, -1, SILENCE_FRAMES), models / DIT / SILENCE_FILE)
    save(models / TEXT_ENCODER, miniature.text_encoder.state_dict(), recipe.text)
    save_tokenizer(text_tokenizer(recipe.text["vocab_size"]), models / TEXT_ENCODER)
    _export_language_model(recipe, work, models / LANGUAGE_MODEL)
    return True


def _export_language_model(recipe: Recipe, work: Path, folder: Path) -> None:
    words = vocabulary(recipe.text["vocab_size"])
    ends = {"eos_token_id": words.tokenizer.end_id, "pad_token_id": words.tokenizer.token_id(END_OF_TEXT)}
    state = trained_song_writer(recipe, work).official_state()
    sizes = {"vocab_size": len(state[EMBEDDINGS]), TRAINED_TASKS: []}
    config = recipe.language_model | ends | sizes
    save(folder, state, config)
    words.write(folder)
    write_json(folder / "generation_config.json", ends)


def save(folder: Path, state: Mapping[str, torch.Tensor], config: dict[str, Any]) -> None:
    """Write weights in half precision in shards, and the config."""
    folder.mkdir(parents=True, exist_ok=True)
    halves = {name: tensor.half().contiguous() for name, tensor in state.items()}
    save_torch_state_dict(halves, folder, max_shard_size=_SHARD)
    write_json(folder / "config.json", config)
