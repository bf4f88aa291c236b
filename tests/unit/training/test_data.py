"""A training batch is drawn from songs of one duration."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from training.data import SongBlocks
from training.recipe import FULL
from training.songs.description import describe
from training.songs.song import Purpose, generator

SONGS = SongBlocks(Path(), FULL)


def test_each_duration_gets_as_much_of_the_time() -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(SONGS.draw_seconds(rng) for _ in range(3000))
    time = [seconds * count for seconds, count in drawn.items()]
    assert drawn.keys() == set(FULL.durations)
    assert min(time) > 0.8 * max(time)


def test_songs_are_drawn_from_the_blocks_that_last_as_long() -> None:
    blocks = SONGS.lasting(15, 20)
    assert {SONGS.seconds(block) for block in blocks} == {15, 20}
    drawn = SONGS.draw(blocks, 100, np.random.default_rng(1))
    assert {block for block, _ in drawn} <= set(blocks)
    assert {place for _, place in drawn} == set(range(FULL.block_songs))


@pytest.mark.parametrize("number", range(5))
def test_the_beginning_of_a_song_has_the_sections_that_begin_in_it(number: int) -> None:
    song = describe(generator(Purpose.TRAINING, number), 30)
    beginning = song.first(10)
    begun = np.cumsum([0, *(section.bars * song.bar_seconds for section in song.sections)])
    assert beginning.seconds == 10
    assert beginning.sections == song.sections[: int((begun[:-1] < 10).sum())]
    assert song.first(30) == song
