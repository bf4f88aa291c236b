"""Every malformed request is refused with the right 4xx, and nothing of it is stored."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from configs.settings import Settings
from tests.malformed_requests import MALFORMED, Malformed
from tests.unit.api.conftest import LocalJobService

GENERATE = "/v1/music/generate"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with the longest song of the default server."""
    return settings.model_copy(update={"api": settings.api.model_copy(update={"max_duration": 600.0})})


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share one application."""
    return shared_http


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.name)
async def test_malformed_request_is_refused(
    case: Malformed,
    http: httpx.AsyncClient,
    service: LocalJobService,
    stored_files: Callable[[], list[Path]],
) -> None:
    answer = await http.post(GENERATE, **case.request)
    assert answer.status_code == case.status, answer.text
    assert case.mentions in str(answer.json()["detail"])
    assert service.jobs == []
    assert stored_files() == []


def test_there_are_enough_of_them() -> None:
    assert len({case.name for case in MALFORMED}) == len(MALFORMED) >= 60


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/jobs/nobody", 404),
        ("GET", "/v1/jobs/%00", 404),
        ("GET", "/v1/jobs/%ff%fe", 404),
        ("GET", "/v1/jobs/" + "x" * 5_000, 404),
        ("GET", "/v1/jobs/nobody?wait=61", 422),
        ("GET", "/v1/jobs/nobody?wait=-1", 422),
        ("GET", "/v1/jobs/nobody?wait=nan", 422),
        ("GET", "/v1/jobs/nobody?wait=soon", 422),
        ("GET", "/v1/audio/nobody/0.mp3", 404),
        ("GET", "/v1/audio/../../etc/passwd", 404),
        ("GET", "/v1/audio/nobody/" + "9" * 5_000 + ".mp3", 404),
        ("GET", "/v1/music/generate", 405),
        ("PUT", "/v1/jobs/nobody", 405),
        ("GET", "/nowhere", 404),
    ],
)
async def test_malformed_url_is_refused(http: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await http.request(method, path)
    assert answer.status_code == status
    assert answer.json()["detail"]
