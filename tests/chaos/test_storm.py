"""Every kind of process is killed with SIGKILL, then all at once, then a new release is deployed.

An accepted job ends once, with the music of a calm run. A user of the studio waits meanwhile and gets a song.
"""

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from serve_app.local_server import local_server, ray_address
from tests.chaos.release import deploy_between_jobs, with_default_leases, with_two_ingress_replicas
from tests.chaos.site import PATIENCE_SECONDS, PROCESSES, Site, site_of
from tests.chaos.songs import Song, songs
from tests.chaos.storm import chaos_config, compare, in_turns, ride_out, usage_differs
from tests.integration.conftest import OpenStudio
from tests.studio_page import Studio

SONGS = 5
JOBS = 10
TASKS = 16
"""Jobs that clients of the ACE-Step API submit at once."""
SEED = 2026
CONNECTION_LOST = "The connection to the server is lost"
RESTART_MS = 1000 * PATIENCE_SECONDS


def release_tasks(site: Site, count: int) -> list[str]:
    """Ids of tasks that were submitted at once."""
    song = {"prompt": "a song between two lives", "audio_duration": 1, "batch_size": 1}
    with ThreadPoolExecutor(count) as clients:
        answers = [clients.submit(site.ask, "POST", "/release_task", json=song) for _ in range(count)]
    return [answer.result().json()["data"]["task_id"] for answer in answers]


def wait_until_finished(site: Site, tasks: list[str], count: int) -> list[dict[str, Any]]:
    """The rows of the tasks, once so many have succeeded. None may fail."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        rows = site.ask("POST", "/query_result", json={"task_id_list": tasks}).json()["data"]
        statuses = [row["status"] for row in rows]
        assert set(statuses) <= {0, 1}, rows
        if statuses.count(1) >= count:
            return list(rows)
        assert time.monotonic() < deadline, f"fewer than {count} tasks succeeded: {statuses}"
        time.sleep(0.5)


def song_from(studio: Studio, caption: str) -> str:
    """Ask for a short song in the studio. Return the job's id."""
    studio.show("Create")
    studio.custom()
    studio.fill(caption=caption, audio_duration="2", batch_size="1")
    return studio.make()


def all_succeeded(site: Site) -> int:
    """Number of jobs, all of which have succeeded."""
    counts = site.ask("GET", "/v1/stats").json()["jobs"]
    assert counts["succeeded"] == sum(counts.values()), counts
    return int(counts["succeeded"])


def test_jobs_survive_the_loss_of_every_process_and_of_all_at_once_and_a_new_release(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], open_studio: OpenStudio
) -> None:
    config = chaos_config(tmp_path)
    requests = songs(SONGS)
    chance = random.Random(SEED)
    with httpx.Client(timeout=60) as http:
        with local_server(config, tmp_path / "first.log") as server:
            site = site_of(server, http)
            undisturbed = site.make(requests, "calm")
            storm, made = ride_out(
                site,
                requests * (JOBS // SONGS),
                in_turns(list(PROCESSES), len(PROCESSES), chance),
                site.kill,
                tmp_path / "output",
                chance,
                recovers=False,
            )
            with capsys.disabled():
                print(f"\n{JOBS} jobs: {storm}")
            assert storm.killed == dict.fromkeys(PROCESSES, 1)
            assert max(storm.attempts) > 1
            assert compare(list(made.values()), undisturbed * (JOBS // SONGS)) == []
            assert usage_differs(site) == []
            waiting = [site.submit(song, f"restart-{index}") for index, song in enumerate(requests)]
            tasks = release_tasks(site, TASKS)
            studio = open_studio(server.url)
            studio.go()
            in_studio = song_from(studio, "a song that outlives the server")
            wait_until_finished(site, tasks, TASKS // 4)
            site.kill_all()
            expect(studio.page.get_by_text(CONNECTION_LOST)).to_be_visible()
        config = with_default_leases(with_two_ingress_replicas(config))
        with local_server(config, tmp_path / "second.log") as server:
            site = site_of(server, http)
            results = site.finished(waiting)
            assert compare([Song.of(site, results[job_id]) for job_id in waiting], undisturbed) == []
            kept = site.finished(list(made))
            assert {job_id: Song.of(site, result) for job_id, result in kept.items()} == made
            rows = wait_until_finished(site, tasks, TASKS)
            assert [len(json.loads(row["result"])) for row in rows] == [1] * TASKS
            files = {json.loads(row["result"])[0]["file"] for row in rows}
            assert all(site.ask("GET", file).content for file in files)
            assert len(files) == TASKS
            expect(studio.page.get_by_text(CONNECTION_LOST)).to_be_hidden(timeout=RESTART_MS)
            studio.until_playable(in_studio)
            studio.until_playable(song_from(studio, "a song as if nothing had happened"))
            assert all_succeeded(site) == SONGS + JOBS + SONGS + TASKS + 2
            assert usage_differs(site) == []
            released = deploy_between_jobs(site, ray_address(server.process.pid), config, tmp_path)
            assert all_succeeded(site) == SONGS + JOBS + SONGS + TASKS + 2 + len(released)
            assert usage_differs(site) == []
        # A release hands jobs on, so no attempt is lost and no other attempt has left a song.
        attempts = [path.name for job_id in released for path in (tmp_path / "output" / job_id).iterdir()]
        assert attempts == ["1"] * len(released)
