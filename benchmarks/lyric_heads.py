"""Finds the heads of the embedded DiT in which its attention follows the lyrics, if there are any.

    python -m benchmarks.lyric_heads --songs 30

The training recipe renders songs with sections, which were not used in training, and their lyrics are the
tags of these sections. Each head alone, and all heads together, say when each section begins. The table shows
by how many seconds they are wrong, and how wrong it is to spread the sections evenly over the song, which
needs no model. A head that follows the lyrics is much better than that, and some token has most of its
attention at some moment (`strongest`, the mean over the songs). It needs the extra `training`.
"""

import argparse
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch

from benchmarks.measuring import show, write_json
from configs.domain import INSTRUCTIONS, SAMPLE_RATE, Task, latent_frames
from deployments.checkpoints.catalog import VAE, dit_checkpoint
from deployments.checkpoints.loading import load_dit, load_text_encoder, load_tokenizer, load_vae
from deployments.checkpoints.location import EMBEDDED
from deployments.codec.engine import VaeEngine
from deployments.common.messages import DenoiseRequest, DiffusionOptions, Metadata
from deployments.generator.engine import GeneratorEngine
from deployments.generator.lyrics.listener import HeardLyrics
from deployments.generator.lyrics.timing import timed_lyrics
from deployments.generator.text_encoder import PromptTokenizer, TextEncoder
from training.songs.song import Purpose, Song, song

DIT, TEXT_ENCODER = "acestep-v15-turbo", "Qwen3-Embedding-0.6B"
SECONDS = 30
FEWEST_SECTIONS = 3

Heads = tuple[tuple[int, int], ...]


def listening_engine() -> tuple[GeneratorEngine, Heads]:
    """Return an engine that listens with all heads, and these heads."""
    modules = load_dit(EMBEDDED / DIT, "cpu", torch.float32)
    config = modules.transformer.config
    heads = tuple(
        (layer, head)
        for layer in range(config.num_hidden_layers)
        for head in range(config.num_attention_heads)
    )
    engine = GeneratorEngine(
        dit_checkpoint(DIT, EMBEDDED),
        replace(modules, alignment_heads=heads),
        TextEncoder(load_text_encoder(EMBEDDED / TEXT_ENCODER, "cpu", torch.float32)),
        PromptTokenizer(load_tokenizer(EMBEDDED / TEXT_ENCODER)),
    )
    return engine, heads


def rendered(count: int) -> list[Song]:
    """Return the first `count` songs of the recipe that have enough sections."""
    found: list[Song] = []
    number = 0
    while len(found) < count:
        candidate = song(Purpose.EVALUATION, number, SECONDS)
        if len(candidate.description.first(SECONDS).sections) >= FEWEST_SECTIONS:
            found.append(replace(candidate, description=candidate.description.first(SECONDS)))
        number += 1
    return found


def heard_lyrics(engine: GeneratorEngine, codec: VaeEngine, made: Song) -> HeardLyrics:
    """Return the attention of all heads to the section tags of a rendered song."""
    told = made.description
    samples = made.audio[:, : SECONDS * SAMPLE_RATE].astype(np.float32)
    request = DenoiseRequest(
        task=Task.TEXT2MUSIC,
        instruction=INSTRUCTIONS[Task.TEXT2MUSIC],
        caption=made.caption,
        lyrics=told.lyrics,
        language="en",
        metadata=Metadata(bpm=told.bpm, time_signature=told.metre, duration=float(SECONDS)),
        frames=latent_frames(SECONDS),
        seed=0,
        options=DiffusionOptions(lyric_timestamps=True),
    )
    playing = engine.start(request)
    lyrics = engine.finish(playing).lyrics
    assert lyrics is not None
    return engine.listen(lyrics, codec.encode(samples))


def beginnings(made: Song) -> np.ndarray:
    """Return the seconds at which the sections really begin."""
    lengths = [section.bars * made.description.bar_seconds for section in made.description.sections]
    return np.array([0.0, *accumulate(lengths[:-1])])


def error(starts: np.ndarray, made: Song) -> float:
    """Return the mean seconds by which sections after the first one are misplaced."""
    return float(np.abs(starts - beginnings(made))[1:].mean())


def error_of(heard: HeardLyrics, heads: slice, made: Song) -> float:
    chosen = replace(heard, in_song=heard.in_song[heads])
    return error(np.array([line.start for line in timed_lyrics(chosen).lines]), made)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--songs", type=int, default=30)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    engine, heads = listening_engine()
    codec = VaeEngine(load_vae(EMBEDDED / VAE, "cpu", torch.float32))
    songs = rendered(options.songs)
    heard = [heard_lyrics(engine, codec, made) for made in songs]

    def mean_error(chosen: slice) -> float:
        return float(np.mean([error_of(each, chosen, made) for each, made in zip(heard, songs, strict=True)]))

    rows = [
        {
            "layer": layer,
            "head": head,
            "strongest": round(float(np.mean([each.in_song[index].max() for each in heard])), 3),
            "seconds off": round(mean_error(slice(index, index + 1)), 2),
        }
        for index, (layer, head) in enumerate(heads)
    ]
    spread = [
        error(np.linspace(0, SECONDS, len(made.description.sections), endpoint=False), made) for made in songs
    ]
    summary = [
        {"sections placed by": "all heads", "seconds off": round(mean_error(slice(None)), 2)},
        {"sections placed by": "nothing: spread evenly", "seconds off": round(float(np.mean(spread)), 2)},
    ]
    show("Heads", sorted(rows, key=lambda row: (row["seconds off"], -row["strongest"])))
    show("Together", summary)
    if options.json:
        write_json(options.json, {"heads": rows, "together": summary})


if __name__ == "__main__":
    main()
