"""One application for all tests of a module, each with a job service of its own behind it.

Building the application takes longer than a request. Modules whose tests send one request after the other,
and change neither settings nor parts of the server, replace the fixture `http` by `shared_http`, and by the
others `storage` and `audio_in` where they use them.
"""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest

from configs.settings import ApiSettings, LanguageModelSettings, Settings
from serve_app.api.app import create_app
from serve_app.api.service import JobService
from serve_app.storage import AudioStorage

if TYPE_CHECKING:
    from tests.unit.api.conftest import LocalJobService


class ServiceOfTheTest:
    """Forwards every call to the service of the test that runs."""

    def __init__(self) -> None:
        self.current: LocalJobService | None = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments, **named: getattr(self.current, name)(*arguments, **named)


class SharedApp:
    """The application, and the folder in which it keeps audio."""

    def __init__(self, folder: Path, max_duration: float) -> None:
        self.audio_in = folder / "audio_in"
        self.audio_in.mkdir()
        settings = Settings(
            api=ApiSettings(
                audio_roots=(self.audio_in,), max_duration=max_duration, max_upload_bytes=4_000_000
            ),
            language_model=LanguageModelSettings(lm_max_duration=20),
        )
        self.output = folder / "output"
        self.storage = AudioStorage(str(self.output))
        self.service = ServiceOfTheTest()
        self.app = create_app(cast(JobService, self.service), settings, self.storage)

    @property
    def stored_files(self) -> list[Path]:
        return [path for path in self.output.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
async def shared_app(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[SharedApp]:
    """The application of the module, whose longest song is its MAX_DURATION (20 s)."""
    max_duration = getattr(request.module, "MAX_DURATION", 20.0)
    shared = SharedApp(tmp_path_factory.mktemp("shared"), max_duration)
    async with shared.app.router.lifespan_context(shared.app):
        yield shared


@pytest.fixture
async def shared_http(shared_app: SharedApp, service: "LocalJobService") -> AsyncIterator[httpx.AsyncClient]:
    shared_app.service.current = service
    transport = httpx.ASGITransport(shared_app.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client


@pytest.fixture
def shared_storage(shared_app: SharedApp) -> AudioStorage:
    return shared_app.storage


@pytest.fixture
def shared_audio_in(shared_app: SharedApp) -> Path:
    return shared_app.audio_in
