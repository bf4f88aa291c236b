from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderOobleck

from configs.domain import latent_frames
from deployments.checkpoints.errors import CheckpointError
from deployments.codec.engine import VaeEngine
from deployments.codec.files.finishing import finished_song
from deployments.common.messages import Finish
from tests.latents import LATENT_CHANNELS, random_latents


@pytest.fixture(scope="module")
def vae(vae_folder: Path) -> AutoencoderOobleck:
    """Return the model as diffusers runs it, with weight norm and in one piece."""
    vae = AutoencoderOobleck.from_pretrained(vae_folder).eval()
    with torch.inference_mode():
        # A forward computes the weights from weight norm. With gradients they could not be copied.
        vae(torch.zeros(1, 2, 1_920))
    return vae


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("frames", [1, 13, 64, 65, 257])
def test_tiles_join_to_what_one_piece_gives(engine: VaeEngine, vae: AutoencoderOobleck, frames: int):
    latents = random_latents(frames)
    with torch.inference_mode():
        whole = vae.decode(torch.from_numpy(latents.T[None].copy())).sample[0].numpy()
        means = vae.encode(torch.from_numpy(whole[None])).latent_dist.mode()[0].numpy().T
    narrower = VaeEngine(deepcopy(vae), tile_frames=64, shared_forwards=False)
    assert relative_difference(engine.decode(latents), whole) <= 1e-4
    assert relative_difference(narrower.decode(latents), whole) <= 1e-4
    assert relative_difference(engine.encode(whole), means) <= 1e-4


@pytest.mark.parametrize(
    "seconds",
    [
        0.5,
        0.7,
        5.1,
        16.9,
        32.5,
        40.5,
        *(pytest.param(song, marks=pytest.mark.slow) for song in (128.5, 600.0)),
    ],
)
def test_songs_of_odd_lengths_are_exact_to_the_sample(vae: AutoencoderOobleck, seconds: float):
    decoded = VaeEngine(deepcopy(vae), tile_frames=512, shared_forwards=False).decode(
        random_latents(latent_frames(seconds))
    )
    assert finished_song(decoded, seconds, Finish()).shape == (2, round(seconds * 48_000))


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (1_920, 1), (1_921, 2), (48_000, 25), (125_000, 66)])
def test_encoding_fills_the_last_frame_with_silence(engine: VaeEngine, samples: int, frames: int):
    sound = np.random.default_rng(0).uniform(-1, 1, (2, samples)).astype(np.float32)
    latents = engine.encode(sound)
    assert latents.shape == (frames, LATENT_CHANNELS)
    whole_frames = np.pad(sound, ((0, 0), (0, frames * 1_920 - samples)))
    assert np.array_equal(latents, engine.encode(whole_frames))


def test_tiles_of_different_songs_share_a_forward(engine: VaeEngine):
    songs = [random_latents(frames, seed=frames) for frames in (100, 150)]
    passes = [engine.decoding(song) for song in songs]
    engine.run([(passes[0], passes[0].tiles[0]), (passes[1], passes[1].tiles[2])])
    engine.run([(passes[1], passes[1].tiles[1]), (passes[0], passes[0].tiles[1])])
    for tile in [passes[1].tiles[0], *passes[1].tiles[3:]]:
        engine.run([(passes[1], tile)])
    for song, tiled in zip(songs, passes, strict=True):
        assert relative_difference(tiled.result, engine.decode(song)) <= 1e-4


def test_bfloat16_is_close_to_float32(engine: VaeEngine, vae_folder: Path):
    half = VaeEngine(AutoencoderOobleck.from_pretrained(vae_folder), dtype=torch.bfloat16, tile_frames=64)
    latents = random_latents(70)
    decoded = half.decode(latents)
    assert decoded.dtype == np.float32
    assert np.corrcoef(decoded.ravel(), engine.decode(latents).ravel())[0, 1] > 0.95


@pytest.mark.parametrize("shape", [(10, 64), (0, LATENT_CHANNELS)])
def test_latents_of_another_model_are_refused(engine: VaeEngine, shape: tuple[int, int]):
    with pytest.raises(ValueError, match=r"expected latents \[frames, 8\]"):
        engine.decode(np.zeros(shape, np.float32))


def test_a_vae_of_another_rate_is_refused():
    other = AutoencoderOobleck(
        encoder_hidden_size=16, decoder_input_channels=8, decoder_channels=4, sampling_rate=44_100
    )
    with pytest.raises(CheckpointError, match="44100"):
        VaeEngine(other)
