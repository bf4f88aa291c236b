"""Begins a run with the weights of a trained checkpoint instead of random ones.

    python -m training.beginning --work .cache/training

The command fills the run's folder with the results of all stages, taken from the embedded checkpoint. It also
writes states of `teacher` and `song_writer` after no steps, so that both stages continue from these weights.
The teacher gets the weights of the student, because the checkpoint holds no others.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import nn

from deployments.checkpoints.catalog import TEXT_ENCODER, VAE
from deployments.checkpoints.errors import CheckpointError
from deployments.checkpoints.key_map import SILENCE_BUFFER
from deployments.checkpoints.loading import (
    TRANSFORMERS_STEM,
    load_dit,
    load_text_encoder,
    load_tokenizer,
)
from deployments.checkpoints.location import EMBEDDED
from deployments.checkpoints.weights import read_tensors, weight_files
from training.codec import CHECKPOINT as CODEC
from training.codes import WEIGHTS as CODES
from training.codes import CodeBook
from training.export import DIT, LANGUAGE_MODEL
from training.files import MODELS, save_weights
from training.latents import SILENCE
from training.loop import STATE
from training.miniature import Miniature
from training.prompting import text_tokenizer
from training.recipe import FULL, Recipe
from training.song_writer import EMBEDDINGS, SongWriter, new_song_writer
from training.song_writer import WEIGHTS as SONG_WRITER
from training.states import AVERAGE, WEIGHTS, State
from training.teacher import WEIGHTS as TEACHER
from training.teacher import new_pupil
from training.turbo import WEIGHTS as TURBO

_CPU = torch.device("cpu")


def begin(models: Path, recipe: Recipe, work: Path) -> None:
    """Fill `work` from the checkpoints in `models`, which `export` has written.

    Raises CheckpointError if their vocabulary is not that of the recipe.
    """
    words = text_tokenizer(recipe.text["vocab_size"])
    if load_tokenizer(models / TEXT_ENCODER).get_vocab() != words.get_vocab():
        raise CheckpointError(f"the text encoder in {models} has another vocabulary than the recipe")
    for codec in (work / CODEC, work / MODELS / VAE):
        shutil.copytree(models / VAE, codec, dirs_exist_ok=True)
    silence, miniature = _read_miniature(models, recipe, work)
    (work / SILENCE).parent.mkdir(exist_ok=True)
    np.save(work / SILENCE, silence.numpy())
    for weights in (TEACHER, TURBO):
        save_weights(miniature, work / weights)
    torch.manual_seed(0)
    pupil = new_pupil(recipe, silence)
    pupil["miniature"].load_state_dict(miniature.state_dict())
    _save_beginning(pupil, work / "teacher")
    writer = _read_song_writer(models / LANGUAGE_MODEL, recipe)
    save_weights(writer, work / SONG_WRITER)
    _save_beginning(writer, work / "song_writer")


def _read_miniature(models: Path, recipe: Recipe, work: Path) -> tuple[torch.Tensor, Miniature]:
    """Return one frame of silence [channels] and the model, and write the codebook to `work`."""
    dit = load_dit(models / DIT, "cpu", torch.float32)
    codebook = CodeBook(recipe.dit)
    codebook.tokenizer.load_state_dict(dit.audio_tokenizer.state_dict())
    codebook.detokenizer.load_state_dict(dit.audio_token_detokenizer.state_dict())
    save_weights(codebook, work / CODES)
    conditions = dit.condition_encoder.state_dict()
    silence = conditions.pop(SILENCE_BUFFER)[0, 0]
    miniature = Miniature(recipe, silence)
    miniature.transformer.load_state_dict(dit.transformer.state_dict())
    miniature.condition_encoder.load_state_dict(conditions)
    text_encoder = load_text_encoder(models / TEXT_ENCODER, "cpu", torch.float32)
    miniature.text_encoder.load_state_dict(text_encoder.state_dict())
    return silence, miniature


def _read_song_writer(folder: Path, recipe: Recipe) -> SongWriter:
    """Return the LM, with its table of codes separated into halves.

    A row of the table is the sum of its halves. The mean of all rows with the same lower half is therefore
    that half plus the mean of the upper halves. Such a constant changes no probability.
    """
    writer = new_song_writer(recipe)
    state = dict(read_tensors(weight_files(folder, TRANSFORMERS_STEM), "cpu", torch.float32))
    rows = state.pop(EMBEDDINGS)
    texts, lower, upper = (each.num_embeddings for each in (writer.text, writer.lower, writer.upper))
    codes = rows[texts : texts + lower * upper].reshape(upper, lower, -1)
    body = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    writer.body.load_state_dict(body | {"embed_tokens.weight": writer.body.embed_tokens.weight})
    with torch.no_grad():
        writer.text.weight.copy_(rows[:texts])
        writer.lower.weight.copy_(codes.mean(dim=0))
        writer.upper.weight.copy_(codes.mean(dim=1) - codes.mean(dim=(0, 1)))
    return writer


def _save_beginning(module: nn.Module, folder: Path) -> None:
    """Write a state after no steps with the weights of the module."""
    weights = {WEIGHTS + name: tensor for name, tensor in module.state_dict().items()}
    averages = {AVERAGE + name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    State(0, weights | averages).save(folder / STATE)


def main() -> None:
    """Run the command line."""
    options = argparse.ArgumentParser(
        prog="python -m training.beginning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--models", type=Path, default=EMBEDDED, help="checkpoints as `export` writes them")
    options.add_argument("--work", type=Path, default=Path(".cache/training"))
    chosen = options.parse_args()
    begin(chosen.models, FULL, chosen.work)


if __name__ == "__main__":
    main()
