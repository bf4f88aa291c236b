"""A disk that is full to its last byte, and a Redis at `maxmemory`, while the real server makes songs.

Nothing that was accepted is lost: polls and downloads go on, and with room again all jobs end without
a restart.
"""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.end_to_end.statistics import percentile
from serve_app.jobs.durable_tracker import DISK_FULL, STORE_FAILS
from serve_app.local_server import local_server
from tests.chaos.site import Site, site_of
from tests.live_server import tiny_config
from tests.ports import free_port
from tests.redis_server import RedisServer

pytestmark = pytest.mark.slow

JOBS = 12
OUTAGE_SECONDS = 20.0
DISK_BYTES = 128 << 20
SONG = {"thinking": True, "audio_duration": 10.0, "batch_size": 2, "audio_format": "wav"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of `DISK_BYTES`. Only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Keep the disk full to the last byte, also when others delete something."""
    over = threading.Event()
    filler = disk / "filler"

    def fill() -> None:
        with filler.open("ab", buffering=0) as file:
            while not over.wait(0.02):
                for size in (1 << 20, 1 << 12, 1):
                    try:
                        while file.write(bytes(size)) == size:
                            pass
                    except OSError:
                        continue

    with ThreadPoolExecutor(1) as pool:
        filling = pool.submit(fill)
        try:
            yield
        finally:
            over.set()
            filling.result()
            filler.unlink()


@contextmanager
def full_redis(server: RedisServer) -> Iterator[None]:
    server.fill()
    try:
        yield
    finally:
        server.give_room()


def polls(site: Site, job_ids: list[str], seconds: float) -> list[float]:
    """Poll all jobs in turn for some time; how long each answer took, ms. All answers are 200."""
    took = []
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        for job_id in job_ids:
            asked = time.perf_counter()
            site.http.get(f"{site.url}/v1/jobs/{job_id}").raise_for_status()
            took.append(1000 * (time.perf_counter() - asked))
            time.sleep(0.02)
    return took


def outlives(site: Site, outage: Callable[[], Any], name: str, no_room: str = STORE_FAILS) -> None:
    """Submit jobs, let the outage begin among them and end, and show that nothing was lost."""
    before = site.submit(SONG, "before")
    (song, *_) = site.finished([before])[before]["audio_paths"]
    content = site.http.get(site.url + song).raise_for_status().content
    job_ids = [site.submit(SONG | {"seed": index}, f"load-{index}") for index in range(JOBS)]
    while site.ended(job_ids) < 2:
        time.sleep(0.1)
    quiet = polls(site, job_ids, 2.0)
    with outage():
        began = time.monotonic()
        while (refused := site.http.post(f"{site.url}/v1/music/generate", json=SONG)).is_success:
            job_ids.append(refused.json()["job_id"])
            assert time.monotonic() - began < 30, "the store is said to be full, and is not"
            time.sleep(0.5)  # The disk has room for the songs of some 30 jobs.
        assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert "retry-after" in refused.headers
        meanwhile = polls(site, job_ids, OUTAGE_SECONDS)
        assert site.http.get(site.url + song).raise_for_status().content == content
        ready = site.http.get(f"{site.url}/ready")
        assert (ready.status_code, ready.json()["no_room"]) == (200, no_room)
        assert site.http.get(f"{site.url}/health").is_success
        ended = site.ended(job_ids)
        assert ended < len(job_ids)
    results = site.finished(job_ids)
    for result in results.values():
        for path in result["audio_paths"]:
            assert len(site.http.get(site.url + path).raise_for_status().content) > 1_000_000
    deadline = time.monotonic() + 30
    while site.http.get(f"{site.url}/ready").json()["no_room"] is not None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    after = site.submit(SONG, "after")
    site.finished([after])
    print(
        f"\n{name}: {len(job_ids)} jobs accepted, {ended} ended while it lasted {OUTAGE_SECONDS:.0f} s, "
        f"{len(results)} succeeded; poll p50/p99 before {percentile(quiet, 0.5):.0f}/"
        f"{percentile(quiet, 0.99):.0f} ms, meanwhile {percentile(meanwhile, 0.5):.0f}/"
        f"{percentile(meanwhile, 0.99):.0f} ms"
    )


def test_a_disk_without_a_free_byte_loses_no_job(small_disk: Path, tmp_path: Path) -> None:
    config = tiny_config(free_port(), small_disk)
    config["applications"][0]["args"]["storage"]["min_free_bytes"] = 0  # the store itself has to notice
    with (
        local_server(config, tmp_path / "serve.log") as server,
        httpx.Client(timeout=60) as http,
    ):
        outlives(site_of(server, http), lambda: full(small_disk), "tmpfs without a free byte")


def test_a_full_disk_of_the_songs_alone_loses_no_job(small_disk: Path, tmp_path: Path) -> None:
    config = tiny_config(free_port(), tmp_path)
    config["applications"][0]["args"]["storage"] = {"uri": str(small_disk), "min_free_bytes": 10 << 20}
    with (
        local_server(config, tmp_path / "serve.log") as server,
        httpx.Client(timeout=60) as http,
    ):
        outlives(site_of(server, http), lambda: full(small_disk), "full disk of songs", DISK_FULL)


def test_a_redis_at_its_limit_loses_no_job(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    redis = RedisServer(tmp_path / "redis")
    config = tiny_config(free_port(), tmp_path)
    config["applications"][0]["args"]["jobs"]["store"] = redis.url
    with (
        local_server(config, tmp_path / "serve.log") as server,
        httpx.Client(timeout=60) as http,
    ):
        outlives(site_of(server, http), lambda: full_redis(redis), "Redis at maxmemory")
    redis.kill()
