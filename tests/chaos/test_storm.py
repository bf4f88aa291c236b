"""Every kind of process is killed with SIGKILL. An accepted job ends once, with the music of a calm run."""

import random
from pathlib import Path

import httpx
import pytest

from serve_app.local_server import local_server
from tests.chaos.site import PROCESSES, site_of
from tests.chaos.songs import Song, songs
from tests.chaos.storm import chaos_config, compare, in_turns, ride_out

SONGS = 5
JOBS = 10
SEED = 2026


def test_jobs_survive_the_loss_of_every_process_and_of_all_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
            )
            with capsys.disabled():
                print(f"\n{JOBS} jobs: {storm}")
            assert storm.killed == dict.fromkeys(PROCESSES, 1)
            assert max(storm.attempts) > 1
            assert compare(list(made.values()), undisturbed * (JOBS // SONGS)) == []
            waiting = [site.submit(song, f"restart-{index}") for index, song in enumerate(requests)]
            site.kill_all()
        with local_server(config, tmp_path / "second.log") as server:
            site = site_of(server, http)
            results = site.finished(waiting)
            assert compare([Song.of(site, results[job_id]) for job_id in waiting], undisturbed) == []
            kept = site.finished(list(made))
            assert {job_id: Song.of(site, result) for job_id, result in kept.items()} == made
            counts = site.ask("GET", "/v1/stats").json()["jobs"]
            assert counts["succeeded"] == sum(counts.values()) == SONGS + JOBS + SONGS
