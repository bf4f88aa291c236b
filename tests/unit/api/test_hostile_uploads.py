"""Uploads that arrive slowly, and files that claim to be enormous."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from configs.settings import Settings
from serve_app.api.app import create_app
from serve_app.storage import AudioStorage
from tests.hostile_audio import HostileFile, hostile_files
from tests.malformed_requests import CUT, endless_upload
from tests.mutated_audio import mutated_file
from tests.unit.api.conftest import LocalJobService

GENERATE = "/v1/music/generate"
MOST_PROCESSOR_SECONDS = 0.5
"""Processor time of this process, which does not depend on other work of the machine."""
MOST_MEMORY_BYTES = 64 << 20
"""Growth of this process that an upload may cause."""
SENDS = 3
"""An upload is sent so often at most. What the upload itself costs comes again each time, other than a
collection of garbage or a thread that an earlier test left behind."""


@pytest.fixture
def http(shared_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """All tests of this module share one application."""
    return shared_http


def memory_from_now_on() -> int:
    """Reset the recorded peak and return the present bytes of this process."""
    Path("/proc/self/clear_refs").write_text("5")
    return most_memory()


def most_memory() -> int:
    """Return the peak of this process in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1_024 * int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1))


@pytest.mark.parametrize("content_type", [CUT, "application/json", "text/plain"])
async def test_a_body_that_trickles_in_is_refused(
    service: LocalJobService,
    settings: Settings,
    storage: AudioStorage,
    stored_files: Callable[[], list[Path]],
    content_type: str,
) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        for chunk in endless_upload(b"\0"):
            yield chunk
            await asyncio.sleep(0.02)

    impatient = settings.api.model_copy(update={"body_timeout_seconds": 0.2})
    app = create_app(service, settings.model_copy(update={"api": impatient}), storage)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as http:
        request = http.post(GENERATE, content=trickle(), headers={"Content-Type": content_type})
        answer = await asyncio.wait_for(request, 5)
    assert answer.status_code == 408
    assert "0.2 seconds" in answer.json()["detail"]
    assert answer.headers["Connection"] == "close"
    assert stored_files() == []


@pytest.mark.parametrize("case", hostile_files(), ids=lambda case: case.name)
async def test_what_a_file_claims_does_not_count(
    http: httpx.AsyncClient, service: LocalJobService, case: HostileFile
) -> None:
    upload = {"src_audio": ("a", case.content)}
    for _ in range(SENDS):
        before, memory = time.process_time(), memory_from_now_on()
        answer = await http.post(GENERATE, data={"task_type": "cover"}, files=upload)
        seconds, growth = time.process_time() - before, most_memory() - memory
        if seconds < MOST_PROCESSOR_SECONDS and growth < MOST_MEMORY_BYTES:
            break
    assert seconds < MOST_PROCESSOR_SECONDS
    assert growth < MOST_MEMORY_BYTES
    if case.says:
        assert answer.status_code == 422
        assert case.says in answer.text
    else:
        assert answer.status_code == 200
        assert service.last.source.seconds == pytest.approx(1.0)


@pytest.mark.parametrize("count", [20, pytest.param(400, marks=pytest.mark.slow)])
async def test_damaged_files_are_accepted_or_refused_and_nothing_else(
    http: httpx.AsyncClient, service: LocalJobService, count: int
) -> None:
    statuses = set()
    for number in range(count):
        upload = {"src_audio": ("a", mutated_file(number))}
        answer = await http.post(GENERATE, data={"task_type": "cover"}, files=upload)
        statuses.add(answer.status_code)
        if answer.status_code == 200:
            service.claim()  # The queue must not become full.
    assert statuses == {200, 422}
