"""The part of a source that is renewed (contract §1.2: repainting_start, repainting_end)."""

import pytest

from deployments.common.messages import Window
from serve_app.request.repainting import RepaintSpan, repaint_span

SOURCE_SECONDS = 20.0


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (5.0, 10.0, RepaintSpan(5.0, 10.0, 0.0, 0.0)),
        (0.0, None, RepaintSpan(0.0, 20.0, 0.0, 0.0)),
        (0.0, -1, RepaintSpan(0.0, 20.0, 0.0, 0.0)),
        (-5.0, 8.0, RepaintSpan(0.0, 13.0, 5.0, 0.0)),
        (15.0, 26.0, RepaintSpan(15.0, 26.0, 0.0, 6.0)),
        (-2.0, 24.0, RepaintSpan(0.0, 26.0, 2.0, 4.0)),
        pytest.param(23.0, 26.0, RepaintSpan(20.0, 26.0, 0.0, 6.0), id="from the end of the source on"),
        pytest.param(-5.0, None, RepaintSpan(0.0, 5.0, 5.0, 0.0), id="only the new part in front"),
    ],
)
def test_span_in_the_time_of_the_padded_source(
    start: float, end: float | None, expected: RepaintSpan
) -> None:
    assert repaint_span(start, end, SOURCE_SECONDS) == expected


@pytest.mark.parametrize(("start", "end"), [(5.0, 5.0), (5.0, 4.0), (20.0, None), (30.0, -1), (0.0, 0.0)])
def test_nothing_to_renew_is_refused(start: float, end: float | None) -> None:
    with pytest.raises(ValueError, match="not after its start"):
        repaint_span(start, end, SOURCE_SECONDS)


def test_out_painting_makes_the_song_longer() -> None:
    assert repaint_span(-2.0, 24.0, SOURCE_SECONDS).total_seconds(SOURCE_SECONDS) == 26.0


@pytest.mark.parametrize(
    ("start", "end", "frames", "expected"),
    [
        (3.0, 6.0, 500, Window(75, 150)),
        (3.01, 6.039, 500, Window(75, 150)),
        (0.0, 20.0, 500, Window(0, 500)),
        pytest.param(3.0, 3.02, 500, Window(75, 76), id="at least one frame"),
        pytest.param(19.99, 20.0, 499, Window(498, 499), id="the last frame of a shorter song"),
    ],
)
def test_window_in_latent_frames(start: float, end: float, frames: int, expected: Window) -> None:
    assert repaint_span(start, end, SOURCE_SECONDS).window(frames) == expected
