"""Provides the stores under test."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.redis_server import RedisServer


@pytest.fixture(scope="session")
def start_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisServer]]:
    """Return a function that starts a RedisServer in an empty folder, with the given options."""
    started: list[RedisServer] = []

    def start(**options: str) -> RedisServer:
        if shutil.which("redis-server") is None:
            pytest.skip("redis-server is not installed")
        started.append(RedisServer(tmp_path_factory.mktemp("redis"), **options))
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="session")
def redis_server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """One server is shared, because each store has a prefix of its own."""
    return start_redis()


@pytest.fixture
def sqlite_location(tmp_path: Path) -> str:
    return str(tmp_path / "made" / "jobs.sqlite3")


@pytest.fixture
def redis_location(redis_server: RedisServer) -> str:
    return f"{redis_server.url}?prefix={uuid4()}"


@pytest.fixture(params=["sqlite", "redis"])
def location(request: pytest.FixtureRequest) -> str:
    """The location of an empty store that outlives its process."""
    return request.getfixturevalue(f"{request.param}_location")
