import pytest
import torch
from diffusers import AutoencoderOobleck

from deployments.codec.folding import PIECE_VALUES, SHORTEST_PIECE, PhasedUpsampling, fold


@pytest.mark.parametrize("stride", [2, 3, 4, 6, 10])
@pytest.mark.parametrize("songs", [1, 2])
def test_phases_are_the_transposed_convolution(stride: int, songs: int):
    torch.manual_seed(stride)
    conv = torch.nn.ConvTranspose1d(5, 7, 2 * stride, stride, padding=-(-stride // 2))
    hidden = torch.randn(songs, 5, 11)
    with torch.inference_mode():
        expected = conv(hidden)
        found = PhasedUpsampling(conv)(hidden[:, :, None])[:, :, 0]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("songs", [1, 2])
def test_a_narrow_decoder_in_pieces_is_the_decoder_in_one(songs: int):
    channels, frames = 8, 2_500
    samples = 24 * frames
    piece = PIECE_VALUES // (songs * channels)
    assert SHORTEST_PIECE <= piece < samples
    assert samples % piece
    torch.manual_seed(0)
    vae = AutoencoderOobleck(
        encoder_hidden_size=4,
        downsampling_ratios=[4, 6],
        channel_multiples=[1, 1],
        decoder_channels=channels,
        decoder_input_channels=2,
        audio_channels=2,
    ).eval()
    latents = torch.randn(songs, 2, frames)
    with torch.inference_mode():
        expected = vae.decode(latents).sample
        fold(vae)
        found = vae.decode(latents[:, :, None]).sample[:, :, 0]
    assert expected.std() > 1e-4
    torch.testing.assert_close(found, expected, atol=1e-6 * float(expected.abs().max()), rtol=1e-4)
