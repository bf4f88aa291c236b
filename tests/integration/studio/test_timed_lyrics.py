"""The lines of the lyrics at their times, in the player."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.live_server import Client
from tests.studio_page import Studio

LYRICS = "[Verse]\nOne line\n\nAnother line"


@pytest.mark.slow
def test_lines_are_marked_while_the_song_plays_and_a_click_goes_to_one(
    studio: Studio, server: Client
) -> None:
    made = {"audio_duration": 8, "batch_size": 1, "use_random_seed": False, "seed": 5, "bpm": 90}
    job_id = server.submit(**made, lyrics=LYRICS, lyric_timestamps=True)
    (timed,) = server.wait(job_id)["result"]["lyric_timestamps"]
    studio.open_song(job_id)
    lines = studio.listen.get_by_role("group", name="Lines of the lyrics")
    rows = lines.get_by_role("listitem")
    expect(rows).to_have_count(len(timed["lines"]))
    expect(rows.locator(".timed-text")).to_have_text([line["text"] for line in timed["lines"]])
    for row, line in zip(rows.all(), timed["lines"], strict=True):
        row.get_by_role("button").click()
        begun = [other for other in timed["lines"] if other["start"] <= line["start"]]
        expect(lines.locator("[aria-current] .timed-text")).to_have_text(begun[-1]["text"])
    with studio.page.expect_download() as download:
        lines.get_by_role("button", name="Save the times (LRC)").click()
    assert download.value.suggested_filename == "song.lrc"
    assert Path(download.value.path()).read_text() == timed["lrc"] + "\n"


@pytest.mark.slow
def test_a_song_without_times_has_no_lines(studio: Studio, server: Client) -> None:
    job_id = server.submit(audio_duration=3, batch_size=1, lyrics=LYRICS)
    assert server.wait(job_id)["status"] == "succeeded"
    studio.open_song(job_id)
    expect(studio.listen.get_by_role("group", name="Lines of the lyrics")).to_be_hidden()
