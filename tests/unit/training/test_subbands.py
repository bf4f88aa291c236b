"""The filter bank of the VAE at 48 kHz: exact at the start, and always equal to the whole VAE."""

import pytest
import torch
from diffusers import AutoencoderOobleck
from torch.nn.functional import conv1d, conv_transpose1d

from configs.domain import AUDIO_CHANNELS, SAMPLES_PER_LATENT
from training.codec import new_vae
from training.recipe import QUICK
from training.subbands import cosine_filters, decode, encode, scale_to

FRAMES = 4
SAMPLES = FRAMES * SAMPLES_PER_LATENT
LATENT_CHANNELS = QUICK.vae["decoder_input_channels"]


@pytest.fixture
def vae() -> AutoencoderOobleck:
    torch.manual_seed(0)
    return new_vae(QUICK.vae)


def music() -> torch.Tensor:
    """Return [2, 2, SAMPLES] that replaces music."""
    generator = torch.Generator().manual_seed(1)
    return 0.1 * torch.randn(2, AUDIO_CHANNELS, SAMPLES, generator=generator)


@pytest.mark.parametrize("bands", [8, 32])
def test_analysis_and_synthesis_with_the_filters_give_back_the_waveform(bands: int) -> None:
    filters = cosine_filters(bands)[:, None]
    waveform = music()[:, :1]
    subbands = conv1d(waveform, filters, stride=bands, padding=bands // 2)
    assert subbands.shape == (2, bands, SAMPLES // bands)
    again = conv_transpose1d(subbands, filters, stride=bands, padding=bands // 2)
    inside = slice(bands, -bands)  # Half a window at each end has no neighbour.
    torch.testing.assert_close(again[..., inside], waveform[..., inside], rtol=0, atol=1e-5)


def assert_same_as_the_whole(vae: AutoencoderOobleck) -> None:
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(2, LATENT_CHANNELS, FRAMES, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(encode(vae, music()), vae.encoder(music()), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(decode(vae, latents), vae.decoder(latents), rtol=1e-4, atol=1e-5)


def test_the_short_way_is_the_way_through_the_whole_vae(vae: AutoencoderOobleck) -> None:
    assert_same_as_the_whole(vae)


def test_and_stays_so_while_the_filters_learn(vae: AutoencoderOobleck) -> None:
    before = [weight.detach().clone() for weight in vae.parameters()]
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-2)
    for _ in range(3):
        means, _ = encode(vae, music()).chunk(2, dim=1)
        (decode(vae, means) - music()).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert not torch.equal(vae.decoder.block[-1].conv_t1.weight_v, before[-1])
    assert sum(not torch.equal(*pair) for pair in zip(vae.parameters(), before, strict=True)) > 10
    assert_same_as_the_whole(vae)


def test_scaled_to_music_latents_begin_at_deviation_one(
    vae: AutoencoderOobleck,
) -> None:
    scale_to(vae, music())
    with torch.no_grad():
        means, deviations = encode(vae, music()).chunk(2, dim=1)
        loudness = decode(vae, means).std() / music().std()
    assert 0.5 < means.std() < 2.0
    assert torch.nn.functional.softplus(deviations).max() < 0.2
    assert 0.1 < loudness < 0.6
    assert_same_as_the_whole(vae)
