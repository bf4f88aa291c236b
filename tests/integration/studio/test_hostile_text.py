"""Text that would do harm as HTML or as a script is shown as text, wherever the page shows any."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.live_server import Client
from tests.studio_page import PATIENCE_MS, Studio

RUN = "globalThis.ran = true"
HOSTILE = (
    f"<img src=x onerror='{RUN}'><script>{RUN}</script><svg onload=\"{RUN}\">"
    f'"\'><iframe srcdoc="<script>parent.ran = true</script>"></iframe>{{{{constructor}}}} javascript:{RUN}'
)
RIGHT_TO_LEFT = "\u202eשלום עולם مرحبا\u202c \u2066x\u2069"
EMOJI = "🎷👩‍👩‍👧‍👦 é\u0301\u0301\u0301 𝄞 \u0000".replace("\u0000", "\u200b")
CAPTION = f"{HOSTILE} {RIGHT_TO_LEFT} {EMOJI}"[:512]
LYRICS = (f"[Verse]\n{HOSTILE}\n{RIGHT_TO_LEFT} {EMOJI}\n" * 100)[:4_000]
LONG_LYRICS = ("[Verse]\n" + f"{HOSTILE}\n" * 100)[: 16 << 10]


def assert_nothing_ran(studio: Studio) -> None:
    assert studio.page.evaluate("() => globalThis.ran") is None
    for element in ("iframe", "img", "svg[onload]", "[onerror]"):
        assert studio.page.locator(f"body {element}").count() == 0, element
    assert studio.page.locator("script").count() == studio.page.locator("head script").count()


@pytest.mark.slow
def test_hostile_words_in_every_text_field(studio: Studio) -> None:
    studio.custom()
    for fold in studio.create.locator("details").all():
        fold.evaluate("(details) => { details.open = true }")
    for control in studio.create.locator("input[type=text]:visible, textarea:visible").all():
        if control.is_enabled():
            control.fill(CAPTION)
    studio.fill(lyrics=LONG_LYRICS)
    studio.create.locator("button[type=submit]").click()
    expect(studio.create.locator("[aria-invalid=true]").first).to_be_attached(timeout=PATIENCE_MS)
    assert_nothing_ran(studio)


def test_a_song_with_hostile_words_is_made_shown_and_found(studio: Studio, server: Client) -> None:
    studio.custom()
    studio.fill(caption=CAPTION, lyrics=LYRICS, audio_duration="5", batch_size="1")
    job_id = studio.make()
    studio.until_playable(job_id)
    result = server.wait(job_id)["result"]
    assert result["metas"]["caption"] == CAPTION.strip()
    assert HOSTILE[:40] in (studio.listen.inner_text())
    studio.show("Songs")
    expect(studio.row(job_id).first).to_contain_text(HOSTILE[:20])
    studio.songs.get_by_role("searchbox").fill("<img src=x onerror=")
    expect(studio.row(job_id).first).to_be_visible()
    studio.page.reload()
    studio.ready()
    assert_nothing_ran(studio)


@pytest.mark.slow
def test_hostile_answers_of_a_server_are_shown_as_text(studio: Studio) -> None:
    """Errors quote requests, and a client's name or another user's words may come back in any answer."""
    errors: list[Any] = [
        {"loc": ["body", "caption"], "msg": HOSTILE, "type": "x"},
        {"loc": ["body", HOSTILE], "msg": HOSTILE, "type": "x"},
    ]
    job = {
        "job_id": "11111111-1111-1111-1111-111111111111",
        "status": "failed",
        "created_at": 1.0,
        "started_at": None,
        "finished_at": 2.0,
        "queue_position": 0,
        "eta_seconds": None,
        "avg_job_seconds": 1.0,
        "progress": 0.5,
        "stage": HOSTILE,
        "result": None,
        "error": HOSTILE,
        "client": HOSTILE,
    }

    def refuse(route: Route) -> None:
        route.fulfill(status=422, json={"detail": errors})

    studio.page.route("**/v1/music/generate", refuse)
    listed = {"jobs": [job], "next_cursor": None}
    studio.page.route("**/v1/jobs?*", lambda route: route.fulfill(json=listed))
    studio.page.route(f"**/v1/jobs/{job['job_id']}", lambda route: route.fulfill(json=job))
    studio.custom()
    studio.fill(caption="a song")
    studio.create.locator("button[type=submit]").click()
    expect(studio.error_of("caption")).to_contain_text(HOSTILE)
    studio.page.evaluate("(hash) => { location.hash = hash }", f"#/song/{job['job_id']}")
    expect(studio.listen).to_contain_text(HOSTILE)
    assert_nothing_ran(studio)


@pytest.mark.slow
def test_a_hostile_project_file_is_text_or_is_refused(studio: Studio, tmp_path: Path) -> None:
    song = {
        "id": "22222222-2222-2222-2222-222222222222",
        "parent": None,
        "kind": HOSTILE,
        "request": {"caption": CAPTION, "lyrics": LONG_LYRICS, "__proto__": {"ran": True}, "seed": HOSTILE},
        "created": 1.0,
        "result": {
            "metas": {"caption": CAPTION, "duration": HOSTILE},
            "count": HOSTILE,
            "audio_codes": HOSTILE,
        },
    }
    files = {
        "song": {"format": "acestep-studio", "version": 1, "songs": [song, {"id": "<b>"}, None, 7]},
        "none": {"format": HOSTILE, "songs": []},
    }
    studio.show("Songs")
    for name, project in files.items():
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(project))
        studio.page.get_by_label("Project file").set_input_files(file)
    (tmp_path / "broken.json").write_text("{")
    studio.page.get_by_label("Project file").set_input_files(tmp_path / "broken.json")
    studio.page.evaluate("(hash) => { location.hash = hash }", f"#/song/{song['id']}")
    expect(studio.listen).to_contain_text("<img src=x")
    assert_nothing_ran(studio)
