import numpy as np
import pytest

from deployments.codec.files.recordings import padded, reference_excerpt
from tests.encoded_audio import music

PIECE = 480_000


def test_silence_is_added_on_both_sides():
    song = padded(music(1.0), 0.5, 0.25)
    assert np.array_equal(song[:, 24_000:72_000], music(1.0))
    assert song.shape == (2, 84_000)
    assert not song[:, :24_000].any()
    assert not song[:, 72_000:].any()


def counted(seconds: float) -> np.ndarray:
    """Return samples whose values tell their index."""
    index = np.arange(round(seconds * 48_000), dtype=np.float32)
    return np.stack([index, -index])


def test_a_reference_is_three_whole_pieces_one_from_each_third():
    excerpt = reference_excerpt(counted(100.0), seed=5)
    assert excerpt.shape == (2, 3 * PIECE)
    third = 1_600_000
    for part in range(3):
        piece = excerpt[0, part * PIECE : (part + 1) * PIECE]
        assert (np.diff(piece) == 1).all()
        assert part * third <= piece[0]
        assert piece[-1] < (part + 1) * third


def test_the_seed_decides_where_the_pieces_begin():
    song = counted(100.0)
    assert np.array_equal(reference_excerpt(song, 5), reference_excerpt(song, 5))
    assert not np.array_equal(reference_excerpt(song, 5), reference_excerpt(song, 6))


@pytest.mark.parametrize("seconds", [0.1, 7.0, 29.9, 30.0])
def test_a_short_reference_is_repeated(seconds: float):
    song = counted(seconds)
    excerpt = reference_excerpt(song, seed=0)
    assert excerpt.shape == (2, 3 * PIECE)
    assert set(np.unique(excerpt[0])) <= set(song[0])
