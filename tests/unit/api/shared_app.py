"""Applications for all tests of a module, each test with a job service and a storage of its own behind them.

Building an application takes longer than a request, and so does starting its process that decodes recordings.
Modules whose tests send one request after the other and change no parts of the server replace the fixture
`http` by `shared_http`, and `audio_in` by `shared_audio_in` where they use it. They get the applications for
other settings from `shared_app`.
"""

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from fastapi import FastAPI

from configs.settings import Settings
from serve_app.api.access.keys import KEYS_VARIABLE
from serve_app.api.app import create_app
from serve_app.api.service import JobService
from serve_app.storage import AudioStorage

if TYPE_CHECKING:
    from tests.unit.api.conftest import LocalJobService

SharedApp = Callable[[Settings], FastAPI]
"""Returns the application of the module that has these settings and the API keys of the environment."""


class OfTheTest:
    """Stands for the part of the server that the running test has."""

    def __init__(self) -> None:
        self.current: object = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.current, name)


class SharedApps:
    """The applications, and the folder whose recordings their clients may name."""

    def __init__(self, audio_in: Path) -> None:
        self.audio_in = audio_in
        self.service = OfTheTest()
        self.storage = OfTheTest()
        self._known: dict[tuple[str, str | None], FastAPI] = {}

    def of(self, settings: Settings) -> FastAPI:
        """Return the application with these settings, whose only folder of recordings is `audio_in`."""
        api = settings.api.model_copy(update={"audio_roots": (self.audio_in,)})
        settings = settings.model_copy(update={"api": api})
        key = settings.model_dump_json(), os.environ.get(KEYS_VARIABLE)
        if key not in self._known:
            service, storage = cast(JobService, self.service), cast(AudioStorage, self.storage)
            self._known[key] = create_app(service, settings, storage)
        return self._known[key]


@pytest.fixture(scope="module")
def shared_apps(tmp_path_factory: pytest.TempPathFactory) -> SharedApps:
    return SharedApps(tmp_path_factory.mktemp("shared_audio_in"))


@pytest.fixture
def shared_app(shared_apps: SharedApps, service: "LocalJobService", storage: AudioStorage) -> SharedApp:
    shared_apps.service.current = service
    shared_apps.storage.current = storage
    return shared_apps.of


@pytest.fixture
async def shared_http(shared_app: SharedApp, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(shared_app(settings), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client


@pytest.fixture
def shared_audio_in(shared_apps: SharedApps) -> Path:
    return shared_apps.audio_in
