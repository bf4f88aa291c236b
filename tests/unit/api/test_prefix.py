"""A server under a path prefix (`route_prefix` of Serve), also under one that begins paths of its own."""

import io
from collections.abc import AsyncIterator

import httpx
import pytest

from configs.settings import Settings
from serve_app.api.app import create_app
from serve_app.edge import Edge
from serve_app.storage import AudioStorage
from serve_app.studio.files import PAGE, studio_in
from tests.unit.api.conftest import LocalJobService, wav_bytes
from tests.unit.api.release_task.conftest import query
from tests.unit.api.test_jobs import RESULT

STUDIO = studio_in()
PREFIXES = ["/music", "/v1", "/studio", "/api", "/v1/music", "/mcp"]


@pytest.fixture(params=PREFIXES)
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def http(
    service: LocalJobService, settings: Settings, storage: AudioStorage, prefix: str
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server behind the edge, whose paths begin after the prefix."""
    app = Edge(create_app(service, settings, storage))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, root_path=prefix)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://server{prefix}") as client:
        yield client


async def test_a_job_is_made_followed_and_downloaded(
    http: httpx.AsyncClient, service: LocalJobService, storage: AudioStorage
) -> None:
    job_id = (await http.post("/v1/music/generate", json={})).json()["job_id"]
    uri = storage.result_uri(job_id, 1, 0, "mp3")
    storage.write(uri, io.BytesIO(b"song"))
    path = f"/v1/audio/{job_id}/0.mp3"
    service.finish(service.claim(), {**RESULT, "audio_paths": [path], "first_audio_path": path}, (uri,))
    job = (await http.get(f"/v1/jobs/{job_id}")).json()
    assert (job["status"], job["result"]["audio_paths"]) == ("succeeded", [path])
    assert (await http.get(path)).content == b"song"
    (row,) = await query(http, job_id)
    assert (await http.get(row["items"][0]["file"])).content == b"song"
    assert [job["job_id"] for job in (await http.get("/v1/jobs")).json()["jobs"]] == [job_id]
    assert (await http.delete(f"/v1/jobs/{job_id}")).status_code == 409
    files = {"src_audio": ("a.wav", wav_bytes())}
    cover = await http.post("/v1/music/generate", data={"task_type": "cover"}, files=files)
    assert cover.status_code == 200
    assert (await http.get("/v1/models")).json()["default_model"] == "acestep-v15-turbo"
    assert (await http.get("/health")).json()["status"] == "ok"


async def test_the_acestep_api_has_both_of_its_doors(http: httpx.AsyncClient) -> None:
    for door in ("", "/api"):
        task = await http.post(f"{door}/release_task", json={"prompt": "a song"})
        (row,) = await query(http, task.json()["data"]["task_id"])
        assert row["status"] == 0
        assert (await http.get(f"{door}/v1/stats")).json()["code"] == 200
        unknown = (await http.post(f"{door}/nowhere")).json()
        assert (unknown["code"], unknown["error"]) == (404, unknown["detail"])


async def test_the_files_of_the_studio_are_sent(http: httpx.AsyncClient) -> None:
    for name, file in STUDIO.files.items():
        address = "/" if name == PAGE else f"/studio/{STUDIO.version}/{name}"
        for _ in range(2):  # the second time by the edge
            answer = await http.get(address)
            assert (answer.status_code, answer.content) == (200, file.plain.content)


async def test_the_documents_name_addresses_under_the_prefix(http: httpx.AsyncClient, prefix: str) -> None:
    document = (await http.get("/openapi.json")).json()
    assert document["servers"] == [{"url": prefix}]
    assert "/v1/music/generate" in document["paths"]
    page = await http.get("/docs")
    assert (page.status_code, f"'{prefix}/openapi.json'" in page.text) == (200, True)


async def test_redirects_stay_under_the_prefix(http: httpx.AsyncClient, prefix: str) -> None:
    bare = await http.get(f"http://server{prefix}")
    assert (bare.status_code, bare.headers["location"]) == (308, f"{prefix}/")
    slash = await http.get("/v1/jobs/?limit=3")
    assert (slash.status_code, slash.headers["location"]) == (307, f"{prefix}/v1/jobs?limit=3")
