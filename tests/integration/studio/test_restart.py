"""The server is killed and started again while a user of the studio waits for a song."""

from pathlib import Path

import psutil
import pytest
from playwright.sync_api import expect

from serve_app.local_server import local_server
from tests.integration.conftest import OpenStudio
from tests.live_server import tiny_config
from tests.ports import free_port

PREFIX = "/music"
START_MS = 180_000


def killed(pid: int) -> None:
    """Kill a server with all its processes, as if its machine lost power."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=30)


@pytest.mark.slow
def test_a_server_that_was_killed_finishes_the_song_that_the_page_waits_for(
    open_studio: OpenStudio, tmp_path: Path
) -> None:
    (tmp_path / "audio_in").mkdir()
    config = tiny_config(free_port(), tmp_path)
    config["applications"][0]["route_prefix"] = PREFIX
    with local_server(config, tmp_path / "first.log") as server:
        server.wait_until_ready(lambda _seconds, _waiting_for: None)
        assert server.url.endswith(PREFIX)
        studio = open_studio(server.url)
        studio.go()
        studio.custom()
        studio.fill(caption="a long song", audio_duration="240", batch_size="4")
        job_id = studio.make()
        expect(studio.player(job_id)).to_have_attribute("data-status", "running")
        killed(server.process.pid)
        expect(studio.page.get_by_text("The connection to the server is lost")).to_be_visible()
    with local_server(config, tmp_path / "second.log") as server:
        server.wait_until_ready(lambda _seconds, _waiting_for: None)
        expect(studio.page.get_by_text("The connection to the server is lost")).to_be_hidden(timeout=START_MS)
        studio.until_playable(job_id)
        # Its next song is made as if nothing had happened.
        studio.show("Create")
        studio.fill(caption="another song", audio_duration="5", batch_size="1")
        studio.until_playable(studio.make())
