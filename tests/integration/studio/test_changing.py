"""A user of the studio changes a song: repaints a part, extends it, makes it again, uses it, keeps it."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Route, expect

from configs.domain import SAMPLE_RATE
from tests.live_server import Client
from tests.studio_page import Studio

SECONDS = 8
CROSSFADE = 0.05
"""Seconds at each side of a repainted part in which old and new sound are mixed, with some room."""


@pytest.fixture(scope="module")
def song(server: Client) -> str:
    """Return the id of a job with one song, in a format that keeps every sample."""
    job_id = server.submit(
        caption="a song to change",
        lyrics="[Verse]\nOne line",
        audio_duration=SECONDS,
        batch_size=1,
        audio_format="wav",
        use_random_seed=False,
        seed=5,
        thinking=True,
    )
    assert server.wait(job_id)["status"] == "succeeded"
    return job_id


def samples(server: Client, job_id: str) -> Any:
    (path,) = server.wait(job_id)["result"]["audio_paths"]
    sound, rate = soundfile.read(io.BytesIO(server.audio(path)), dtype="int16")
    assert rate == SAMPLE_RATE
    return sound


def selected(studio: Studio) -> tuple[float, float]:
    """Return the selection as its two fields show it, seconds."""
    return tuple(float(studio.listen.get_by_label(name, exact=True).input_value()) for name in ("From", "To"))


def test_only_the_dragged_part_is_repainted(studio: Studio, server: Client, song: str) -> None:
    studio.open_song(song)
    studio.drag_on_waveform(3.0, 5.0, SECONDS)
    start, end = selected(studio)
    assert (start, end) == pytest.approx((3.0, 5.0), abs=0.3)
    change = studio.listen.get_by_role("group", name="Change")
    change.get_by_role("textbox", name="Caption").fill("the middle in brass")
    change.get_by_role("textbox", name="Seed").fill("77")
    job_id = studio.press_and_submit(change.get_by_role("button", name="Repaint", exact=True))
    assert studio.submitted[-1]["src_audio_path"] == f"/v1/audio/{song}/0.wav"
    studio.until_playable(job_id)
    before, after = samples(server, song), samples(server, job_id)
    assert before.shape == after.shape
    first, last = (int(edge * SAMPLE_RATE) for edge in (start - CROSSFADE, end + CROSSFADE))
    np.testing.assert_array_equal(after[:first], before[:first])
    np.testing.assert_array_equal(after[last:], before[last:])
    inside = slice(int((start + CROSSFADE) * SAMPLE_RATE), int((end - CROSSFADE) * SAMPLE_RATE))
    assert np.mean(after[inside] != before[inside]) > 0.5
    # Its history leads back to the song that it was made from. What tells nothing new leaves it as it is.
    link = studio.listen.get_by_role("navigation", name="History").get_by_role("link").first
    link.focus()
    studio.page.evaluate(
        """async () => {
          const { src } = document.querySelector("script[type=module]");
          const { songs } = await import(new URL("songs.js", src));
          songs.dispatchEvent(new Event("change"));
        }"""
    )
    expect(link).to_be_focused()
    link.click()
    expect(studio.player(song)).to_be_attached()


def test_a_drag_past_the_end_extends_the_song(studio: Studio, server: Client, song: str) -> None:
    recording = studio.create.locator('[data-recording="reference_audio"] input[type=file]')
    recording.set_input_files({"name": "of earlier.wav", "mimeType": "audio/wav", "buffer": b"none"})
    studio.open_song(song)
    studio.drag_on_waveform(SECONDS - 1.0, SECONDS + 1.8, SECONDS)
    start, end = selected(studio)
    assert end > SECONDS + 1
    change = studio.listen.get_by_role("group", name="Change")
    job_id = studio.press_and_submit(change.get_by_role("button", name="Extend", exact=True), clicks=2)
    studio.until_playable(job_id)
    assert len(studio.submitted) == 1
    before, after = samples(server, song), samples(server, job_id)
    assert len(after) == pytest.approx(end * SAMPLE_RATE, abs=SAMPLE_RATE / 10)
    kept = int((start - CROSSFADE) * SAMPLE_RATE)
    np.testing.assert_array_equal(after[:kept], before[:kept])
    # As a reference it takes the place of the recording that was chosen before.
    change.get_by_role("radio", name="Use as reference").check(force=True)
    change.get_by_role("button", name="Use as reference").click()
    expect(recording).to_have_value("")
    path = studio.field("reference_audio_path").locator("input")
    expect(path).to_have_value(f"/v1/audio/{job_id}/0.wav")


@pytest.mark.slow
def test_again_exactly_is_the_same_song(studio: Studio, server: Client) -> None:
    studio.custom()
    studio.fill(caption="twice", audio_duration="5", batch_size="1")
    studio.field("audio_format").locator("select").select_option("wav")
    first = studio.make()
    studio.until_playable(first)
    studio.listen.get_by_role("radio", name="Again", exact=True).check(force=True)
    second = studio.press_and_submit(studio.listen.get_by_role("button", name="Again exactly"))
    studio.until_playable(second)
    np.testing.assert_array_equal(samples(server, first), samples(server, second))


@pytest.mark.slow
def test_a_song_becomes_a_reference_and_a_cover(studio: Studio, server: Client, song: str) -> None:
    studio.open_song(song)
    studio.listen.get_by_role("radio", name="Cover").check(force=True)
    job_id = studio.press_and_submit(studio.listen.get_by_role("button", name="Make a cover"))
    assert studio.submitted[-1]["task_type"] == "cover"
    assert server.wait(job_id)["status"] == "succeeded"
    studio.open_song(song)
    studio.listen.get_by_role("radio", name="Use as reference").check(force=True)
    studio.listen.get_by_role("button", name="Use as reference").click()
    job_id = studio.make()
    assert studio.submitted[-1]["reference_audio_path"] == f"/v1/audio/{song}/0.wav"
    assert server.wait(job_id)["status"] == "succeeded"


@pytest.mark.slow
def test_a_dropped_recording_is_uploaded(studio: Studio, server: Client, song: str) -> None:
    (path,) = server.wait(song)["result"]["audio_paths"]
    studio.page.evaluate(
        """async (path) => {
          const song = await (await fetch(`.${path}`)).blob();
          const file = new File([song], "<b>song</b>.wav", { type: "audio/wav" });
          const data = new DataTransfer();
          data.items.add(file);
          const facts = { dataTransfer: data, bubbles: true, cancelable: true };
          for (const kind of ["dragover", "drop"]) document.body.dispatchEvent(new DragEvent(kind, facts));
        }""",
        path,
    )
    dialog = studio.page.get_by_role("dialog")
    expect(dialog).to_contain_text("<b>song</b>.wav")
    dialog.get_by_role("button", name="Source recording").click()
    studio.field("task_type").locator("select").select_option("cover")
    studio.fill(caption="covered", batch_size="1")
    job = server.wait(studio.make())
    assert job["status"] == "succeeded", job["error"]
    assert job["result"]["duration"] == SECONDS
    # After a reload its recording is gone, and without it the song cannot be made again.
    studio.page.reload()
    studio.ready()
    studio.open_song(job["job_id"])
    studio.listen.get_by_label("Download as").select_option("flac")
    studio.listen.get_by_role("radio", name="Again", exact=True).check(force=True)
    for name in ("Make in this format", "Again exactly"):
        expect(studio.listen.get_by_role("button", name=name)).to_be_disabled()


@pytest.mark.slow
def test_takes_are_compared_at_the_same_position(studio: Studio, server: Client) -> None:
    """Also where a take is chosen before the browser has it."""
    job_id = server.submit(caption="two takes", audio_duration=30, batch_size=2, audio_format="wav")
    server.wait(job_id)
    held: list[Route] = []
    studio.page.route(re.compile(r"/1\.wav"), lambda route: held.append(route))
    studio.open_song(job_id)
    position = studio.listen.get_by_role("slider", name="Position")
    expect(position).to_have_attribute("aria-valuemax", "30.0")
    for _ in range(3):
        position.press("ArrowRight")
    expect(position).to_have_attribute("aria-valuenow", "3")
    studio.listen.get_by_role("radio", name="B", exact=True).check(force=True)
    expect(studio.player(job_id)).to_have_attribute("data-item", "1")
    while not held:
        studio.page.wait_for_timeout(50)
    held[0].continue_()
    expect(position).to_have_attribute("aria-valuemax", "30.0")
    expect(position).to_have_attribute("aria-valuenow", "3")
    studio.listen.get_by_role("button", name="Play").click()
    expect(studio.listen.get_by_role("button", name="Pause")).to_be_visible()
    studio.listen.get_by_role("button", name="Pause").click()


@pytest.mark.slow
def test_a_song_is_downloaded_as_it_is_on_the_server(studio: Studio, server: Client, song: str) -> None:
    studio.open_song(song)
    with studio.page.expect_download() as download:
        studio.listen.get_by_role("link", name="Download").click()
    (path,) = server.wait(song)["result"]["audio_paths"]
    assert Path(download.value.path()).read_bytes() == server.audio(path)
    assert download.value.suggested_filename.endswith(".wav")


@pytest.mark.slow
def test_a_project_is_exported_and_imported(studio: Studio, open_studio: Any, tmp_path: Path) -> None:
    studio.custom()
    studio.fill(caption="kept in a file", audio_duration="5", batch_size="1", seed="9")
    job_id = studio.make()
    studio.until_playable(job_id)
    studio.show("Songs")
    with studio.page.expect_download() as download:
        studio.songs.get_by_role("button", name="Export project").click()
    file = tmp_path / "project.json"
    download.value.save_as(file)
    (kept,) = json.loads(file.read_text())["songs"]
    assert (kept["id"], kept["request"]["seed"]) == (job_id, studio.submitted[-1]["seed"])
    other = open_studio(studio.address)
    other.go("#/songs")
    other.page.get_by_label("Project file").set_input_files(file)
    expect(other.page.get_by_text("1 song imported")).to_be_attached()
    other.open_song(job_id)
    other.listen.get_by_role("radio", name="Again", exact=True).check(force=True)
    other.listen.get_by_role("button", name="Edit in Create").click()
    expect(other.field("caption").locator("textarea")).to_have_value("kept in a file")
