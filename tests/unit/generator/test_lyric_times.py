"""From attention to times: the path, the lines, the LRC text and the score.

tests/parity compares them with those of the original.
"""

from collections.abc import Sequence

import numpy as np
import pytest

from deployments.common.messages import TimedText
from deployments.generator.lyrics.listener import HeardLyrics
from deployments.generator.lyrics.scoring import alignment_score, sung_tokens
from deployments.generator.lyrics.times import lrc, timed_lines, token_texts
from deployments.generator.lyrics.timing import timed_lyrics
from deployments.generator.lyrics.warping import Matrix, Path, cheapest_path

WORDS = ("[verse", "]\n", "one", " two", "\n", "\n", "three")


def decode(ids: Sequence[int]) -> str:
    return "".join(WORDS[index] for index in ids)


def cell_by_cell(costs: Matrix) -> list[tuple[int, int]]:
    """The cheapest path as the original's loop finds it."""
    tokens, frames = costs.shape
    totals = np.full((tokens + 1, frames + 1), np.inf, np.float32)
    totals[0, 0] = 0
    moves = {}
    for token in range(tokens):
        for frame in range(frames):
            both, down, along = totals[token, frame], totals[token, frame + 1], totals[token + 1, frame]
            if both < down and both < along:
                best, move = both, (1, 1)
            elif down < both and down < along:
                best, move = down, (1, 0)
            else:
                best, move = along, (0, 1)
            totals[token + 1, frame + 1] = costs[token, frame] + best
            moves[token, frame] = move
    cell = (tokens - 1, frames - 1)
    path = [cell]
    while cell != (0, 0):
        cell = (cell[0] - moves[cell][0], cell[1] - moves[cell][1])
        path.append(cell)
    return path[::-1]


def cells(path: Path) -> list[tuple[int, int]]:
    return list(zip(path.tokens.tolist(), path.frames.tolist(), strict=True))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (7, 30), (30, 7)])
@pytest.mark.parametrize("levels", [1, 3, 10_000])
def test_the_path_is_the_one_that_is_found_cell_by_cell(shape: tuple[int, int], levels: int) -> None:
    """With few levels many predecessors cost the same."""
    for seed in range(5):
        drawn = np.random.default_rng(seed).integers(levels, size=shape)
        costs = -(drawn / levels).astype(np.float32)
        assert cells(cheapest_path(costs)) == cell_by_cell(costs)


def heard(attention: Matrix, ids: Sequence[int] = range(len(WORDS)), seconds: float = 10.0) -> HeardLyrics:
    return HeardLyrics(tuple(ids), seconds, attention[None], attention[None], decode)


def test_lyrics_that_are_sung_one_token_after_the_other_have_these_times() -> None:
    frames_each = 5
    attention = np.repeat(np.eye(len(WORDS), dtype=np.float32), frames_each, axis=1)
    times = timed_lyrics(heard(attention, seconds=3.5))  # a tenth of a second for each frame
    assert [token.text for token in times.tokens] == list(WORDS)
    for index, token in enumerate(times.tokens):
        assert token.start == pytest.approx(0.5 * index)
        assert token.end == pytest.approx(0.5 * index + 0.4)
    assert times.lines == (
        TimedText("[verse]", 0.0, 0.9),
        TimedText("one two", 1.0, 2.4),
        TimedText("three", 3.0, 3.4),
    )
    assert times.lrc == "[00:00.00][verse]\n[00:01.00]one two\n[00:03.00]three"
    # Not 1, because the path through cells that cost the same takes some beside the diagonal.
    assert times.score == times.condition_score == pytest.approx(0.85, abs=0.01)


def test_attention_that_is_the_same_everywhere_has_no_times_and_no_score() -> None:
    times = timed_lyrics(heard(np.full((len(WORDS), 20), 0.1, np.float32), seconds=20.0))
    assert {(token.start, token.end) for token in times.tokens[:-1]} == {(0.0, 0.0)}
    assert (times.tokens[-1].start, times.tokens[-1].end) == (0.0, 19.0)
    assert times.score == 0.0


def test_a_character_of_several_tokens_is_counted_once() -> None:
    parts = [bytes([byte]) for byte in "é好".encode()]

    def joined(ids: Sequence[int]) -> str:
        return b"".join(parts[index] for index in ids).decode(errors="replace")

    texts = token_texts(range(len(parts)), joined)
    # A replacement character has three bytes: more than é, and as many as 好.
    assert texts == ["\ufffd", "", "\ufffd", "", ""]


def test_an_empty_line_has_no_time_and_the_last_line_needs_no_break() -> None:
    tokens = [TimedText(word, float(index), index + 0.5) for index, word in enumerate(WORDS)]
    lines = timed_lines(range(len(WORDS)), tokens, decode)
    assert [(line.text, line.start, line.end) for line in lines] == [
        ("[verse]", 0.0, 1.5),
        ("one two", 2.0, 4.5),
        ("three", 6.0, 6.5),
    ]


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.0, "00:00.00"), (9.876, "00:09.88"), (59.994, "00:59.99"), (59.996, "01:00.00"), (600.0, "10:00.00")],
)
def test_a_time_in_lrc_has_minutes_seconds_and_hundredths(seconds: float, written: str) -> None:
    assert lrc([TimedText("la", seconds, seconds)]) == f"[{written}]la"


def test_tags_are_not_sung_even_where_they_have_several_tokens() -> None:
    texts = ["[", "verse", " 1", "]\n", "la", " [", "x]", "[y]", " la"]
    assert sung_tokens(texts) == [False, False, False, False, True, False, False, False, True]


def test_tokens_that_nothing_attends_to_lower_the_coverage() -> None:
    attention = np.zeros((1, 4, 40), np.float32)
    for token in (0, 1, 3):
        attention[0, token, 10 * token : 10 * token + 10] = 1.0
    score = alignment_score(attention, [True] * 4)
    assert (score.coverage, score.monotonicity) == (0.75, 1.0)
    assert alignment_score(attention, [True, True, False, True]).coverage == 1.0


def test_tokens_in_another_order_lower_the_monotonicity() -> None:
    attention = np.zeros((1, 4, 80), np.float32)
    for token, start in enumerate((0, 40, 20, 60)):
        attention[0, token, start : start + 20] = 1.0
    assert alignment_score(attention, [True] * 4).monotonicity == pytest.approx(2 / 3)
    in_order = attention[:, (0, 2, 1, 3)]
    assert alignment_score(in_order, [True] * 4).monotonicity == 1.0


def test_lyrics_of_tags_alone_are_covered() -> None:
    score = alignment_score(np.random.default_rng(0).random((2, 3, 9), dtype=np.float32), [False] * 3)
    assert (score.coverage, score.monotonicity) == (1.0, 1.0)
