"""The tracker as a Ray actor: it is found by name, and an application of another version replaces it."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.exceptions
import yaml

from configs.settings import Settings
from serve_app.jobs.client import HEAD_NODE, find_tracker, replace_outdated_tracker, tracker_client
from serve_app.jobs.model import NewJob
from serve_app.jobs.storing.store import StoreTakenError
from serve_app.jobs.tracker_api import TrackerApi
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from tests.job_tracking import WORK
from tests.ray_nodes import local_ray


@pytest.fixture(scope="module", autouse=True)
def running_ray() -> Iterator[None]:
    with local_ray():
        yield


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    jobs = {"store": str(tmp_path / "jobs.sqlite3"), "tracker_name": tmp_path.name}
    return Settings(jobs=jobs, storage={"uri": str(tmp_path / "output")})


def other_version(settings: Settings) -> Settings:
    return settings.model_copy(update={"jobs": settings.jobs.model_copy(update={"queue_limit": 7})})


async def queue_limit(client: TrackerApi) -> Any:
    return (await client.stats()).queue_limit


async def test_jobs_go_on_in_the_tracker_of_the_next_version(settings: Settings) -> None:
    replace_outdated_tracker(settings)
    old = tracker_client(settings)
    await old.submit(NewJob("a", JobSpec(GenerateRequest(), seeds=(1,)), WORK))
    replace_outdated_tracker(other_version(settings))
    new = tracker_client(other_version(settings))
    assert await queue_limit(new) == 7
    # A replica of the earlier version finds the tracker that replaced its own.
    assert (await old.view("a")).queue_position == 1
    assert await queue_limit(old) == 7


async def test_a_tracker_of_the_same_version_stays(settings: Settings) -> None:
    replace_outdated_tracker(settings)
    before = find_tracker(settings)
    replace_outdated_tracker(settings)
    assert find_tracker(settings) == before


async def test_a_replica_that_finds_no_tracker_starts_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.jobs.client.REPLACING_SECONDS", 1.0)
    client = tracker_client(settings)
    await client.submit(NewJob("a", JobSpec(GenerateRequest(), seeds=(1,)), WORK))
    ray.kill(find_tracker(settings), no_restart=True)
    assert (await client.view("a")).queue_position == 1


@pytest.mark.slow
async def test_a_tracker_that_was_left_behind_is_stopped_and_its_jobs_are_kept(
    settings: Settings, tmp_path: Path
) -> None:
    config = tmp_path / "serve.yaml"
    arguments = settings.model_dump(mode="json", exclude_defaults=True)
    config.write_text(yaml.safe_dump({"applications": [{"name": "acestep", "args": arguments}]}))
    await tracker_client(settings).submit(NewJob("a", JobSpec(GenerateRequest(), seeds=(1,)), WORK))

    def stop() -> subprocess.CompletedProcess[str]:
        address = ray.get_runtime_context().gcs_address
        command = [sys.executable, "-m", "serve_app.admin", "stop-tracker", "--address", address]
        return subprocess.run(
            [*command, "--config", str(config)], capture_output=True, text=True, check=False
        )

    stopped = stop()
    assert (stopped.returncode, stopped.stdout) == (0, "The job tracker has been stopped.\n"), stopped.stderr
    assert find_tracker(settings) is None
    again = stop()
    assert again.returncode == 1
    assert "no job tracker of" in again.stderr
    assert (await tracker_client(settings).view("a")).queue_position == 1


async def test_a_tracker_whose_store_was_taken_over_ends_and_is_not_replaced(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two applications use one store by mistake. The later one keeps it."""
    monkeypatch.setattr("serve_app.jobs.client.REPLACING_SECONDS", 1.0)
    first = tracker_client(settings)
    await first.submit(NewJob("a", JobSpec(GenerateRequest(), seeds=(1,)), WORK))
    name = {"tracker_name": f"{settings.jobs.tracker_name}-other"}
    others = settings.model_copy(update={"jobs": settings.jobs.model_copy(update=name)})
    second = tracker_client(others)
    await second.submit(NewJob("b", JobSpec(GenerateRequest(), seeds=(1,)), WORK))
    with pytest.raises(StoreTakenError, match="another job tracker has opened this store"):
        await first.submit(NewJob("c", JobSpec(GenerateRequest(), seeds=(1,)), WORK))
    ended = find_tracker(settings)

    async def ask_until_it_ends() -> None:
        while True:  # The old tracker reports the loss for some seconds.
            with suppress(StoreTakenError):
                await first.view("a")
            await asyncio.sleep(0.5)

    with pytest.raises(ray.exceptions.ActorDiedError):
        await ask_until_it_ends()
    assert find_tracker(settings) in {None, ended}
    assert (await second.stats()).jobs["queued"] == 2
    assert await second.view("c") is None


async def test_the_tracker_of_a_file_stays_on_the_node_that_has_the_file(settings: Settings) -> None:
    """The tracker runs on the head node, because it takes a small part of that node's resource."""
    await tracker_client(settings).stats()
    assert ray.available_resources()[HEAD_NODE] < ray.cluster_resources()[HEAD_NODE]
