"""Levels and onsets are those of librosa, which the training itself does not need."""

from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
import pytest
import torch

from configs.domain import SAMPLE_RATE, SAMPLES_PER_LATENT
from training.mel import MelLevelsLoss, mel_filters
from training.onsets import onsets


@pytest.fixture(scope="module")
def librosa() -> Iterator[Any]:
    """Return librosa without a compiler: compiling takes many times as long as what is computed here."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(numba.config, "DISABLE_JIT", 1)
        import librosa

        yield librosa


@pytest.mark.parametrize(
    ("bands", "size", "highest"), [(64, 512, 24_000.0), (64, 4096, 24_000.0), (24, 2048, 12_000.0)]
)
def test_filters_are_those_of_librosa(librosa: Any, bands: int, size: int, highest: float) -> None:
    theirs = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=size, n_mels=bands, fmax=highest)
    np.testing.assert_allclose(mel_filters(bands, size, highest), theirs, rtol=1e-5, atol=1e-8)


def notes() -> np.ndarray:
    """[2, samples]: tones that begin every quarter of a second."""
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    envelope = np.exp(-8 * (time % 0.25))
    return np.stack([envelope * np.sin(2 * np.pi * pitch * time) for pitch in (440, 1320)]).astype(np.float32)


def test_onsets_are_those_of_librosa(librosa: Any) -> None:
    power = librosa.feature.melspectrogram(
        y=notes(),
        sr=SAMPLE_RATE,
        n_fft=2048,
        hop_length=SAMPLES_PER_LATENT,
        n_mels=24,
        fmax=12_000,
        pad_mode="reflect",
    )
    frames = notes().shape[-1] // SAMPLES_PER_LATENT
    theirs = librosa.onset.onset_strength(S=np.log(power[..., :frames] + 1e-4), center=False)
    np.testing.assert_allclose(onsets(notes()), theirs, rtol=1e-3, atol=1e-4)
    assert theirs.max() > 1


@pytest.mark.usefixtures("librosa")
def test_the_loss_of_levels_is_that_of_auraloss() -> None:
    from auraloss.freq import MultiResolutionSTFTLoss  # This imports librosa, too.

    sizes = [2048, 512]
    theirs = MultiResolutionSTFTLoss(
        fft_sizes=sizes,
        hop_sizes=[size // 4 for size in sizes],
        win_lengths=sizes,
        w_sc=0.0,
        sample_rate=SAMPLE_RATE,
        scale="mel",
        n_bins=64,
        eps=1e-4,
    )
    wanted = torch.from_numpy(notes())[None]
    made = 0.5 * wanted
    ours = MelLevelsLoss(64, sizes, 1e-4)(made, wanted)
    torch.testing.assert_close(ours, theirs(made, wanted), rtol=1e-4, atol=1e-5)
    assert ours > 0.1
