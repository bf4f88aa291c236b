"""The client and its command line against real servers: an open one, one with keys, one that is killed."""

import asyncio
import io
import json
import os
import subprocess
import sys
import threading
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import soundfile

import acestep_client
from acestep_client import (
    AsyncClient,
    Client,
    JobCancelledError,
    JobSnapshot,
    Retries,
)
from acestep_client.fields import SongFields
from configs.settings import PROJECT_ROOT
from serve_app.local_server import local_server
from tests.live_server import Client as User
from tests.live_server import tiny_config
from tests.ports import free_port

ACESTEP = Path(sys.executable).with_name("acestep")
SHORT: SongFields = {"audio_duration": 2.0, "batch_size": 1}
LONG: SongFields = {"audio_duration": 240.0, "batch_size": 8, "inference_steps": 20}
MINUTES = Retries(patience_seconds=300)


def url_of(user: User) -> str:
    return str(user.http.base_url)


@pytest.fixture
def client(server: User) -> Client:
    return Client(url_of(server))


def acestep(server: User, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder."""
    environment = {**os.environ, "ACESTEP_URL": url_of(server)}
    return subprocess.run(
        [ACESTEP, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_song_is_made_followed_and_saved(client: Client, tmp_path: Path) -> None:
    seen: list[JobSnapshot] = []
    job = client.generate("a song", lyrics="[Verse]\nHello", audio_format="wav", seed=5, **SHORT)
    result = job.wait(on_progress=seen.append)
    assert (seen[-1].status, seen[-1].progress, result.seed_value) == ("succeeded", 1.0, "5")
    (path,) = job.save(tmp_path)
    assert path == tmp_path / f"{job.id}-0.wav"
    assert soundfile.info(path).frames == 2 * 48_000
    assert job.songs[0].read() == path.read_bytes()
    assert "<audio controls" in job._repr_html_()
    assert next(iter(client.jobs())).id == job.id


@pytest.mark.slow
def test_a_song_is_edited_where_it_is_and_recordings_are_sent(client: Client, tmp_path: Path) -> None:
    first = client.generate("a song", audio_format="wav", **SHORT)
    first.wait()
    song = first.songs[0]
    file = song.save(tmp_path / "song.wav")
    jobs = [
        client.repaint(song, "softer", start=0.5, end=1.5, batch_size=1),
        client.cover(file, "louder", batch_size=1),
        client.cover(io.BytesIO(file.read_bytes()), "faster", batch_size=1),
        client.understand(song.path),
    ]
    results = [job.wait() for job in jobs]
    assert [result.duration for result in results[:3]] == [2.0] * 3
    assert [len(job.songs) for job in jobs] == [1, 1, 1, 0]
    assert len((results[3].audio_codes[0] or "").split("><")) == 10


async def test_jobs_run_at_once_and_their_events_come_in_order(server: User) -> None:
    async with AsyncClient(url_of(server)) as client:
        jobs = [await client.generate(f"song {number}", **SHORT) for number in range(3)]

        async def statuses(job: Any) -> list[str]:
            return [event.status async for event in job.events()]

        for seen in await asyncio.gather(*map(statuses, jobs)):
            assert seen[-1] == "succeeded"
            assert seen == sorted(seen, key=["queued", "running", "succeeded"].index)
        songs = await asyncio.gather(*(job.songs[0].read() for job in jobs))
        assert all(songs)


def test_a_cancelled_job_ends_the_wait(client: Client) -> None:
    job = client.generate("a long song", **LONG)
    waiting = threading.Timer(0.5, job.cancel)
    waiting.start()
    with pytest.raises(JobCancelledError):
        client.job(job.id).wait()
    waiting.join()


def test_the_types_of_the_client_are_those_of_the_running_server(server: User) -> None:
    api = server.http.get("/openapi.json").json()
    sent = api["paths"]["/v1/music/generate"]["post"]["requestBody"]["content"]["multipart/form-data"][
        "schema"
    ]
    assert set(SongFields.__annotations__) == set(sent["properties"])
    polled = api["components"]["schemas"]["JobResponse"]["properties"]
    assert set(JobSnapshot.model_fields) == set(polled)


def test_the_command_line_makes_songs_and_shows_what_there_is(server: User, tmp_path: Path) -> None:
    (tmp_path / "lyrics.txt").write_text("[Verse]\nHello world")
    made = acestep(
        server,
        "make",
        "upbeat pop song",
        "--lyrics",
        "lyrics.txt",
        "--seconds",
        "2",
        "-o",
        "song.flac",
        folder=tmp_path,
    )
    assert (made.returncode, made.stdout) == (0, "song.flac\n"), made.stderr
    assert "succeeded" in made.stderr
    assert soundfile.info(tmp_path / "song.flac").frames == 2 * 48_000
    listed = acestep(server, "jobs", "--json", "--limit", "1", folder=tmp_path)
    (job,) = json.loads(listed.stdout)
    assert job["result"]["metas"]["requested_lyrics"] == "[Verse]\nHello world"
    models = acestep(server, "models", folder=tmp_path)
    assert "MUSIC MODEL" in models.stdout
    unknown = acestep(server, "show", "no-such-job", folder=tmp_path)
    assert (unknown.returncode, unknown.stderr) == (5, "error: Job not found\n")


def killed(pid: int) -> None:
    """Kill a server with all its processes, as if its machine lost power."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=30)


@pytest.mark.slow
def test_waits_events_and_submits_outlive_a_server_that_is_killed_and_started_again(tmp_path: Path) -> None:
    (tmp_path / "audio_in").mkdir()
    config = tiny_config(free_port(), tmp_path)
    config["applications"][0]["route_prefix"] = "/music"
    ends: dict[str, Any] = {}

    def during(name: str, call: Callable[[], Any]) -> threading.Thread:
        thread = threading.Thread(target=lambda: ends.update({name: call()}))
        thread.start()
        return thread

    with local_server(config, tmp_path / "first.log") as server:
        server.wait_until_ready(lambda _seconds, _waiting_for: None)
        client = Client(server.url, retries=MINUTES)
        job = client.generate("a long song", **{**LONG, "audio_duration": 120.0})
        while job.refresh().status != "running":
            pass
        threads = [
            during("wait", lambda: client.job(job.id).wait()),
            during("events", lambda: [event.status for event in client.job(job.id).events()]),
        ]
        killed(server.process.pid)
        threads.append(during("submit", lambda: client.generate("submitted while it was away", **SHORT)))
    with local_server(config, tmp_path / "second.log") as server:
        for thread in threads:
            thread.join(300)
            assert not thread.is_alive()
        assert len(ends["wait"].audio_paths) == 8
        assert ends["events"][-1] == "succeeded"
        assert ends["submit"].wait().duration == 2.0
        assert len(ends["submit"].save(tmp_path)) == 1


@pytest.mark.slow
def test_a_clean_environment_needs_nothing_but_the_client(server: User, tmp_path: Path) -> None:
    """The wheel is built here; the packages that it needs come from the package index."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path, PROJECT_ROOT / "client"], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    constraints = ["--constraint", PROJECT_ROOT / "constraints.txt"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *constraints, wheel], check=True)
    script = (PROJECT_ROOT / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    assert len(script.splitlines()) <= 10
    assert "http://127.0.0.1:8001" in script
    (tmp_path / "ten_lines.py").write_text(script.replace("http://127.0.0.1:8001", url_of(server)))
    environment = {"ACESTEP_URL": url_of(server), "PATH": f"{python.parent}:{os.environ['PATH']}"}
    ran = subprocess.run(
        [python, "ten_lines.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[-1].endswith(".mp3")
    shell = 'acestep make "upbeat pop song" --lyrics lyrics.txt --seconds 30 -o song.mp3'
    assert shell in (PROJECT_ROOT / "README.md").read_text()
    (tmp_path / "lyrics.txt").write_text("Hello world")
    subprocess.run(["bash", "-c", shell.replace("30", "3")], cwd=tmp_path, env=environment, check=True)
    assert soundfile.info(tmp_path / "song.mp3").duration == pytest.approx(3, abs=0.1)
    seconds = (
        "import time; began = time.process_time(); import acestep_client; print(time.process_time() - began)"
    )
    timed = subprocess.run(
        [python, "-c", seconds], env=environment, capture_output=True, text=True, check=True
    )
    files = [file for file in (tmp_path / "venv").rglob("*") if file.is_file() and "pip" not in file.parts]
    print(
        f"wheel: {wheel.stat().st_size / 1000:.0f} kB; environment without pip: "
        f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB; import: {timed.stdout.strip()} s"
    )
    assert Path(acestep_client.__file__).is_relative_to(PROJECT_ROOT)
