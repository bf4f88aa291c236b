"""A user of the studio follows jobs: to the end, to a cancellation, through reloads and lost connections."""

import re

import pytest
from playwright.sync_api import Request, expect

from tests.integration.conftest import OpenStudio
from tests.live_server import Client
from tests.reverse_proxy import reverse_proxy
from tests.studio_page import SONG_MS, Studio

LONG = {"caption": "a long song", "audio_duration": 300, "batch_size": 2, "thinking": True}
SHORT = {"caption": "a short song", "audio_duration": 5, "batch_size": 1}


def is_stream(request: Request) -> bool:
    return request.url.endswith("/events")


def test_a_job_is_watched_to_its_end(studio: Studio, server: Client) -> None:
    studio.page.evaluate(
        """() => {
          globalThis.shown = new Set();
          new MutationObserver(() => {
            for (const bar of document.querySelectorAll("[role=progressbar]"))
              if (bar.getAttribute("aria-valuetext")) shown.add(bar.getAttribute("aria-valuetext"));
          }).observe(document.body, { subtree: true, childList: true, attributes: true });
        }"""
    )
    studio.custom()
    studio.fill(caption="watched", audio_duration="20", batch_size="1")
    studio.field("thinking").get_by_role("checkbox").check()
    job_id = studio.make()
    expect(studio.row(job_id).or_(studio.player(job_id)).first).to_be_attached()
    studio.until_playable(job_id)
    shown = studio.page.evaluate("() => Array.from(shown)")
    stages = {text.partition(",")[0] for text in shown}
    assert len(stages) >= 2, shown
    assert {int(match[1]) for text in shown if (match := re.search(r"(\d+) %", text))} - {0}, shown
    assert server.wait(job_id)["status"] == "succeeded"
    # Its end is told to those who do not see the page.
    expect(studio.listen.get_by_role("status").filter(has_text="Done: watched")).to_be_attached()


def test_a_waiting_and_a_running_job_are_cancelled(open_studio: OpenStudio, server: Client) -> None:
    jobs = [server.submit(**LONG) for _ in range(4)]
    studio = open_studio(str(server.http.base_url))
    studio.go("#/songs")
    for job_id in (jobs[3], jobs[0]):
        row = studio.row(job_id)
        row.get_by_role("button", name=re.compile("^Cancel")).click()
        expect(studio.songs.locator(f'[data-job="{job_id}"][data-status="cancelled"]')).to_be_attached()
        assert server.wait(job_id)["status"] == "cancelled"
    server.cancel_all()


@pytest.mark.slow
def test_twenty_jobs_at_once_show_where_they_are(studio: Studio, server: Client) -> None:
    jobs = [server.submit(**SHORT) for _ in range(20)]
    studio.show("Songs")
    studio.page.reload()
    studio.ready()
    for job_id in jobs:
        expect(studio.row(job_id).first).to_be_attached()
        expect(studio.songs.locator(f'[data-job="{job_id}"][data-status="succeeded"]')).to_be_attached(
            timeout=SONG_MS
        )


def test_a_reload_in_the_middle_changes_nothing(studio: Studio, server: Client) -> None:
    before = [server.submit(**LONG) for _ in range(3)]
    studio.custom()
    studio.create.get_by_text("Advanced").click()
    studio.fill(caption="reloaded", audio_duration="5", batch_size="1", latent_shift="-1")
    job_id = studio.make()
    with studio.page.expect_request(is_stream):
        studio.page.reload()
    studio.ready()
    expect(studio.player(job_id)).to_have_attribute("data-status", "queued")
    expect(studio.field("latent_shift").locator("input")).to_have_value("-1")
    # A hidden page gives its connection away and follows the jobs by their lists.
    with studio.page.expect_event("requestfailed", is_stream):
        studio.page.evaluate(
            """() => {
              Object.defineProperty(document, "hidden", { value: true });
              document.dispatchEvent(new Event("visibilitychange"));
            }"""
        )
    for other in before:
        server.http.delete(f"/v1/jobs/{other}")
    studio.until_playable(job_id)
    assert server.wait(job_id)["status"] == "succeeded"


def test_a_lost_connection_in_the_middle_loses_no_job(open_studio: OpenStudio, server: Client) -> None:
    """A server that is killed and starts again is the same for the page; chaos/test_storm.py does that."""
    with reverse_proxy(str(server.http.base_url)) as proxy:
        studio = open_studio(proxy.url)
        studio.go()
        studio.custom()
        studio.fill(caption="interrupted", audio_duration="1", batch_size="1")
        job_id = studio.make()
        proxy.cut()
        expect(studio.page.get_by_text("The connection to the server is lost")).to_be_visible()
        assert server.wait(job_id)["status"] == "succeeded"
        proxy.mend()
        studio.until_playable(job_id)
        expect(studio.page.get_by_text("The connection to the server is lost")).to_be_hidden()


@pytest.mark.slow
def test_jobs_of_other_clients_of_this_user_show_up(studio: Studio, server: Client) -> None:
    job_id = server.submit(**SHORT)
    studio.show("Songs")
    expect(studio.songs.locator(f'[data-job="{job_id}"][data-status="succeeded"]')).to_be_attached(
        timeout=SONG_MS
    )
    server.wait(job_id)
