import pytest
import torch
from diffusers import AutoencoderOobleck
from diffusers.models.autoencoders.autoencoder_oobleck import Snake1d

from deployments.checkpoints.catalog import VAE
from deployments.checkpoints.loading import load_vae
from deployments.checkpoints.location import EMBEDDED
from deployments.codec.folding import (
    PIECE_VALUES,
    SHORTEST_PIECE,
    FoldedSnake,
    PhasedUpsampling,
    compiled_snake,
    fold,
)


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


@pytest.mark.parametrize(
    "backend", ["aot_eager_decomp_partition", pytest.param("inductor", marks=pytest.mark.slow)]
)
def test_the_compiled_activation_is_the_written_one_for_all_sizes(backend: str):
    torch.compiler.reset()  # Nothing that other tests compiled is reused.
    fused = compiled_snake("cpu", torch.float32, backend)
    for songs, channels, samples in ((1, 8, 40), (3, 16, 7), (2, 5, 33)):
        activation = Snake1d(channels)
        for parameter in (activation.alpha, activation.beta):
            parameter.data.normal_()
        folded, written = FoldedSnake(activation, fused), FoldedSnake(activation)  # as when a VAE is loaded
        with torch.inference_mode(), torch.compiler.set_stance("fail_on_recompile"):
            hidden = torch.randn(songs, channels, 1, samples).contiguous(memory_format=torch.channels_last)
            found, expected = folded(hidden), written(hidden)
            torch.testing.assert_close(found, expected)
            assert found.stride() == expected.stride()


def test_a_machine_that_cannot_compile_is_told_what_to_do():
    def broken(_graph: object, _inputs: object) -> None:
        raise OSError("no compiler here")

    with pytest.raises(RuntimeError, match=r"C compiler.*codec\.compiled: false"):
        compiled_snake("cpu", torch.float32, broken)


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


def test_what_adds_nothing_is_left_out_and_the_sound_stays():
    vae = load_vae(EMBEDDED / VAE, "cpu", torch.float32)
    torch.manual_seed(0)
    latents = torch.randn(1, vae.config.decoder_input_channels, 4)
    with torch.inference_mode():
        waveform = vae.decode(latents).sample
        again = vae.encode(waveform).latent_dist.mode()
        snakes = sum(isinstance(module, Snake1d) for module in vae.modules())
        fold(vae)
        found = vae.decode(latents[:, :, None]).sample
        torch.testing.assert_close(found[:, :, 0], waveform, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(
            vae.encode(waveform[:, :, None]).latent_dist.mode()[:, :, 0], again, atol=1e-5, rtol=1e-4
        )
    # The encoder and the decoder have seven of them at 48 kHz: two in each of three units and one more.
    assert snakes - sum(isinstance(module, FoldedSnake) for module in vae.modules()) == 14
