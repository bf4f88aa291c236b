import pytest
import torch

from deployments.codec.folding import PhasedUpsampling


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
