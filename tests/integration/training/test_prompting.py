"""What the DiT reads: music that stands beside a prompt is not always told in words, too."""

from collections.abc import Callable

import numpy as np
import pytest

from deployments.domain import Task
from training.prompting import Prompter, text_tokenizer
from training.recipe import QUICK
from training.songs.description import describe
from training.songs.song import Purpose, generator

COUNT = 100
Share = Callable[[Task, bool, str], float]


@pytest.fixture(scope="module")
def share() -> Share:
    """The share of captions for a task, with or without reference, that have some words."""
    vocabulary_size = QUICK.text["vocab_size"]
    prompter, tokenizer = Prompter(vocabulary_size), text_tokenizer(vocabulary_size)
    song = describe(generator(Purpose.TRAINING, 7), lead="flute")

    def share(task: Task, referenced: bool, words: str) -> float:
        rng = np.random.default_rng(5)
        prompts = [tokenizer.decode(prompter(song, task, referenced, rng)[1]) for _ in range(COUNT)]
        return sum(words in prompt for prompt in prompts) / COUNT

    return share


def test_metadata_is_often_left_to_the_music_beside_it(share: Share) -> None:
    assert share(Task.TEXT2MUSIC, False, "bpm: N/A") < 0.2
    for task in (Task.COVER, Task.REPAINT):
        assert 0.4 < share(task, False, "bpm: N/A") < 0.7


def test_instruments_are_often_left_to_the_reference(share: Share) -> None:
    assert share(Task.TEXT2MUSIC, False, "flute") == 1
    assert 0.35 < share(Task.TEXT2MUSIC, True, "flute") < 0.65
