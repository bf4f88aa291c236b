import pytest

from deployments.codec.tiles import MARGIN, cut_into_tiles, even_width


@pytest.mark.parametrize("width", [64, 100, 256])
@pytest.mark.parametrize("length", [1, 63, 64, 65, 101, 257, 300, 1_000, 15_000])
def test_cores_cover_the_sequence_once_with_margins_around(length: int, width: int):
    tiles = cut_into_tiles(length, width)
    assert [tile.core_start for tile in tiles] == [0, *(tile.core_stop for tile in tiles[:-1])]
    assert tiles[-1].core_stop == length
    for tile in tiles:
        assert tile.stop - tile.start == min(width, length)
        assert tile.core_start - tile.start >= MARGIN or tile.start == tile.core_start == 0
        assert tile.stop - tile.core_stop >= MARGIN or tile.stop == tile.core_stop == length


def test_there_are_no_more_tiles_than_needed():
    assert [len(cut_into_tiles(length, 256)) for length in (256, 257, 494, 495, 732, 733)] == [
        1,
        2,
        2,
        3,
        3,
        4,
    ]


def test_tiles_that_are_all_margin_are_refused():
    with pytest.raises(ValueError, match="no core"):
        cut_into_tiles(1_000, 18)


@pytest.mark.parametrize("length", [257, 494, 495, 525, 1_500, 15_000])
def test_tiles_of_even_width_are_as_many_and_overlap_by_little_more_than_the_margins(length: int):
    tiles = cut_into_tiles(length, even_width(length, 256))
    assert len(tiles) == len(cut_into_tiles(length, 256))
    work = sum(tile.stop - tile.start for tile in tiles)
    assert work <= length + (2 * MARGIN + 1) * (len(tiles) - 1) + len(tiles)


@pytest.mark.parametrize("length", [1, 18, 256])
def test_a_short_sequence_stays_one_tile_of_its_own_length(length: int):
    (tile,) = cut_into_tiles(length, even_width(length, 256))
    assert (tile.start, tile.stop) == (0, length)
