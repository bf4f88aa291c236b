"""The prompts of the DiT do not always describe the audio that stands beside them."""

from collections.abc import Callable

import numpy as np
import pytest

from configs.domain import Task
from training.prompting import Prompter, text_tokenizer
from training.recipe import QUICK
from training.songs.description import describe
from training.songs.song import Purpose, generator

SONG = describe(generator(Purpose.TRAINING, 7), lead="flute")
COUNT = 400
Share = Callable[[Task, bool, str], float]


@pytest.fixture(scope="module")
def share() -> Share:
    """Return the share of captions for a task, with or without reference, that contain certain words."""
    vocabulary_size = QUICK.text["vocab_size"]
    prompter, tokenizer = Prompter(vocabulary_size), text_tokenizer(vocabulary_size)

    def share(task: Task, referenced: bool, words: str) -> float:
        rng = np.random.default_rng(5)
        prompts = [tokenizer.decode(prompter(SONG, task, referenced, rng)[1]) for _ in range(COUNT)]
        return sum(words in prompt for prompt in prompts) / COUNT

    return share


def test_metadata_beside_music_are_missing_a_guess_or_true(share: Share) -> None:
    true, missing = f"bpm: {SONG.bpm}", "bpm: N/A"
    assert share(Task.TEXT2MUSIC, False, missing) < 0.2
    assert share(Task.TEXT2MUSIC, False, true) > 0.8
    for task in (Task.COVER, Task.REPAINT):
        told, untold = share(task, False, true), share(task, False, missing)
        assert 0.25 < untold < 0.55
        assert 0.2 < told < 0.5
        assert 0.15 < 1 - told - untold < 0.45


def test_instruments_are_often_left_to_the_reference(share: Share) -> None:
    assert share(Task.TEXT2MUSIC, False, "flute") == 1
    assert 0.35 < share(Task.TEXT2MUSIC, True, "flute") < 0.65
