"""Codes must represent where a listener hears notes begin."""

import numpy as np
import numpy.typing as npt
import torch

from configs.domain import SAMPLE_RATE, SAMPLES_PER_LATENT
from training.onsets import Ear, onsets

_FRAMES = 50
_SAMPLES = _FRAMES * SAMPLES_PER_LATENT
_TONE = 0.5 * np.sin(2 * np.pi * 440.0 * np.arange(_SAMPLES) / SAMPLE_RATE).astype(np.float32)
_BEGIN = 20


def _note(level: float) -> npt.NDArray[np.float32]:
    return np.float32(level) * np.where(
        np.arange(_SAMPLES) < _BEGIN * SAMPLES_PER_LATENT, np.float32(0), _TONE
    )


def test_each_latent_frame_has_its_onset() -> None:
    assert onsets(np.zeros((3, _SAMPLES), np.float32)).shape == (3, _FRAMES)


def test_an_onset_stands_where_a_note_begins_and_nowhere_before() -> None:
    heard = onsets(_note(1.0)[None])[0]
    assert int(heard.argmax()) in (_BEGIN, _BEGIN + 1)
    assert heard[: _BEGIN - 1].max() == 0.0


def test_a_soft_note_begins_as_plainly_as_it_differs_from_silence() -> None:
    loud, soft = onsets(np.stack([_note(1.0), _note(0.1)]))
    assert 0.25 * loud.max() < soft.max() < loud.max()


def test_a_tone_that_goes_on_has_none() -> None:
    assert onsets(_TONE[None])[0, 2:-2].max() < 0.05


def test_an_ear_tells_the_onsets_of_each_frame() -> None:
    assert Ear(channels=32)(torch.zeros(2, _FRAMES, 32)).shape == (2, _FRAMES)
