"""The transcripts of songs describe what is played in them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from configs.domain import LATENT_RATE
from training.onsets import onsets
from training.songs.composing import Hit, Note, Score
from training.songs.song import Purpose, score, song
from training.songs.theory import MODES, Key
from training.transcripts import Transcriber, Transcripts, key_of, moments_of

NUMBER, SECONDS = 11, 10


def test_the_score_of_a_number_is_that_of_its_song() -> None:
    description, played = score(Purpose.TRAINING, NUMBER, SECONDS)
    made = song(Purpose.TRAINING, NUMBER, SECONDS)
    assert description == made.description
    told = moments_of(description, played)[:, 16]
    heard = onsets(made.audio.mean(axis=0, keepdims=True))[0]
    # An onset is heard in its frame or the next, because the analysis windows overlap both.
    agreement = max(np.corrcoef(told[: len(told) - late], heard[late:])[0, 1] for late in (0, 1))
    others = [np.corrcoef(np.roll(told, places), heard)[0, 1] for places in range(100, 150)]
    assert agreement > 0.4
    assert agreement > max(others)


def test_moments_say_where_the_beat_is_and_what_sounds() -> None:
    description, _ = score(Purpose.TRAINING, NUMBER, SECONDS)
    description = replace(description, bpm=100, metre="4/4")
    played = Score(
        lead=(Note(0.4, 0.2, 61, 0.5),),
        chords=(),
        bass=(),
        drums=(Hit(1.0, "kick", 0.75), Hit(99.0, "kick", 1.0)),
    )
    moments = moments_of(description, played)
    assert moments.shape == (SECONDS * LATENT_RATE, 17)
    beat = 60 / 100 * LATENT_RATE
    angles = np.arctan2(moments[:, 1], moments[:, 0])
    np.testing.assert_allclose(angles[0], 2 * np.pi * 0.5 / beat, rtol=1e-5)
    np.testing.assert_allclose(moments[:-60, :4], moments[60:, :4], atol=1e-4)  # A bar is 60 frames.
    assert np.abs(moments[:-30, 2] - moments[30:, 2]).max() > 1
    sounding = moments[:, 4:16]
    assert list(zip(*np.nonzero(sounding), strict=True)) == [(frame, 1) for frame in range(10, 15)]
    assert sounding.max() == 0.5
    assert {frame: moments[frame, 16] for frame in np.flatnonzero(moments[:, 16])} == {10: 0.5, 25: 0.75}


def test_keys_have_numbers_of_their_own() -> None:
    description, _ = score(Purpose.TRAINING, NUMBER, SECONDS)
    keys = [replace(description, key=Key(tonic, mode)) for tonic in range(12) for mode in MODES]
    assert sorted(map(key_of, keys)) == list(range(24))


@pytest.mark.parametrize("frames", [10, 11])
def test_the_head_learns_to_tell_and_only_what_is_made_counts(frames: int) -> None:
    torch.manual_seed(1)
    transcriber = Transcriber(hidden=16, patch=2)
    states = torch.randn(3, -(-frames // 2), 16)
    moments, made = torch.rand(3, frames, 17), torch.ones(3, frames)
    true = Transcripts(moments, torch.tensor([0, 5, 23]))
    made[:, 4:] = 0.0
    elsewhere = moments.clone()
    elsewhere[:, 4:] += 1
    first = transcriber.loss(states, true, made)
    assert transcriber.loss(states, Transcripts(elsewhere, true.keys), made) == first
    assert transcriber.loss(states, Transcripts(moments + 1, true.keys), made) > first
    optimizer = torch.optim.Adam(transcriber.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        transcriber.loss(states, true, made).backward()
        optimizer.step()
    assert transcriber.loss(states, true, made) < 0.1 * first
