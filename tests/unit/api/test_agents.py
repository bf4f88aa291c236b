"""Agents use the server by the Model Context Protocol, through its official client and real HTTP."""

import asyncio
import io
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ResourceLink, TextContent

from configs.settings import ApiSettings, Settings
from serve_app.api.access.keys import KEYS_VARIABLE, digest_of
from serve_app.api.app import create_app
from serve_app.api.intake.body import MAX_JSON_DEPTH
from serve_app.jobs.model import Claim, JobState
from serve_app.request.schemas import Output
from serve_app.storage import AudioStorage
from tests.unit.api.conftest import LocalJobService, wav_bytes
from tests.unit.api.served import served
from tests.unit.api.test_jobs import RESULT

TOOLS = {
    "make_song",
    "repaint_song",
    "cover_song",
    "extend_song",
    "describe_song",
    "follow_job",
    "cancel_job",
}


@pytest.fixture
async def url(service: LocalJobService, settings: Settings, storage: AudioStorage) -> AsyncIterator[str]:
    async with served(create_app(service, settings, storage)) as url:
        yield url


@asynccontextmanager
async def agent(url: str, mode: str = "auto", **headers: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - the tracker of these tests tells nobody
        await asyncio.sleep(0.01)


async def next_claim(service: LocalJobService) -> Claim:
    """Claim the next job for a runner, as soon as there is one."""
    while (claim := service.tracker.claim(str(uuid.uuid4()))) is None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return claim


async def finished(service: LocalJobService, storage: AudioStorage, **result: Any) -> str:
    """Run the next job as a runner does, with one heartbeat, and return the path of its song."""
    claim = await next_claim(service)
    job_id, token = claim.job.job_id, claim.token
    await service.until_followed(job_id)
    assert service.tracker.heartbeat(job_id, token, "denoising", 0.5)
    await service.until_followed(job_id)
    uri = storage.result_uri(job_id, 1, 0, claim.job.spec.request.audio_format)
    storage.write(uri, io.BytesIO(wav_bytes()))
    path = f"/v1/audio/{job_id}/0.{uri.rpartition('.')[2]}"
    service.finish(claim, {**RESULT, "audio_paths": [path], "first_audio_path": path, **result}, (uri,))
    return path


def text(result: CallToolResult) -> str:
    (first, *_) = result.content
    assert isinstance(first, TextContent)
    return first.text


def links(result: CallToolResult) -> list[ResourceLink]:
    return [part for part in result.content if isinstance(part, ResourceLink)]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_agent_lists_the_tools_and_makes_a_song_with_progress(
    url: str, service: LocalJobService, storage: AudioStorage, mode: str
) -> None:
    told: list[tuple[float, str | None]] = []

    async def tell(progress: float, _total: float | None, message: str | None) -> None:
        told.append((progress, message))

    async with agent(url, mode) as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(listed) == TOOLS
        assert listed["make_song"].input_schema["properties"]["audio_duration"]["anyOf"][0]["maximum"] == 20
        making = asyncio.create_task(
            client.call_tool(
                "make_song", {"caption": "calm piano", "audio_format": "wav"}, progress_callback=tell
            )
        )
        path = await finished(service, storage)
        result = await making
    assert not result.is_error
    assert service.last.request.caption == "calm piano"
    (link,) = links(result)
    assert (link.uri, link.mime_type) == (url + path, "audio/wav")
    assert path in text(result)
    assert result.structured_content["result"]["audio_paths"] == [path]
    assert told[0][0] == 0
    assert (0.5, "denoising") in [(progress, message and message.split(",")[0]) for progress, message in told]
    async with httpx.AsyncClient() as http:
        assert (await http.get(link.uri)).content == wav_bytes()


async def song_of(url: str, service: LocalJobService, storage: AudioStorage) -> str:
    """The path of a finished song of two seconds."""
    async with httpx.AsyncClient(base_url=url) as http:
        submitted = await http.post("/v1/music/generate", json={"audio_format": "wav"})
        job_id = submitted.json()["job_id"]
    claim = service.claim()
    uri = storage.result_uri(job_id, 1, 0, "wav")
    storage.write(uri, io.BytesIO(wav_bytes(2.0)))
    path = f"/v1/audio/{job_id}/0.wav"
    service.finish(claim, {**RESULT, "audio_paths": [path], "duration": 2.0}, (uri,))
    return path


@pytest.mark.parametrize(
    ("tool", "arguments", "meant"),
    [
        ("repaint_song", {"start": 0.5, "end": 1.5}, ("repaint", 0.5, 1.5)),
        ("cover_song", {"strength": 0.5}, ("cover", 0.0, None)),
        ("extend_song", {"seconds": 3}, ("repaint", 2.0, 5.0)),
        ("extend_song", {"seconds": 3, "at": "start"}, ("repaint", -3.0, None)),
        ("describe_song", {}, ("text2music", 0.0, None)),
    ],
)
async def test_an_edit_is_the_request_of_its_task(
    url: str,
    service: LocalJobService,
    storage: AudioStorage,
    tool: str,
    arguments: dict[str, Any],
    meant: tuple[str, float, float | None],
) -> None:
    song = await song_of(url, service, storage)
    async with agent(url) as client:
        result = await client.call_tool(tool, {"song": song, "wait_seconds": 0, **arguments})
    assert not result.is_error, text(result)
    assert "goes on (waiting, position 1" in text(result)
    request = service.last.request
    assert (request.task_type, request.repainting_start, request.repainting_end) == meant
    assert service.last.source is not None
    assert (request.output is Output.DESCRIPTION) == (tool == "describe_song")
    assert request.audio_cover_strength == (0.5 if tool == "cover_song" else 1.0)


async def test_a_description_is_told_in_words(
    url: str, service: LocalJobService, storage: AudioStorage
) -> None:
    song = await song_of(url, service, storage)
    async with agent(url) as client:
        describing = asyncio.create_task(client.call_tool("describe_song", {"song": song}))
        claim = await next_claim(service)
        heard = {"caption": "calm piano ♯", "bpm": 90}
        service.finish(claim, {**RESULT, "audio_paths": [], "first_audio_path": None, "metas": heard})
        result = await describing
    assert not links(result)
    assert '"caption": "calm piano ♯", "bpm": 90' in text(result)
    assert result.structured_content["result"]["metas"] == heard


async def test_a_seed_is_used_without_another_switch(url: str, service: LocalJobService) -> None:
    async with agent(url) as client:
        await client.call_tool("make_song", {"caption": "x", "seed": 7, "batch_size": 2, "wait_seconds": 0})
        await client.call_tool("make_song", {"caption": "x", "wait_seconds": 0})
    assert service.jobs[0].spec.seeds == (7, 8)
    assert service.jobs[1].spec.request.use_random_seed


async def test_a_job_is_followed_by_another_call_and_cancelled(url: str, service: LocalJobService) -> None:
    async with agent(url) as client:
        begun = await client.call_tool("make_song", {"caption": "x", "wait_seconds": 0})
        job_id = begun.structured_content["job_id"]
        following = asyncio.create_task(client.call_tool("follow_job", {"job_id": job_id}))
        await service.until_followed(job_id)
        async with agent(url) as other:
            cancelled = await other.call_tool("cancel_job", {"job_id": job_id})
        followed = await following
    assert (cancelled.is_error, cancelled.structured_content["status"]) == (False, "cancelled")
    assert (followed.is_error, text(followed)) == (True, f"The job {job_id} was cancelled.")


WRONG: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("make_song", {"caption": "x", "bpm": 1000}, "bpm: Input should be less than or equal to 300."),
    ("make_song", {"captoin": "x"}, "captoin: There is no such field."),
    ("make_song", {"caption": "x", "wait_seconds": -1}, "wait_seconds: Input should be greater than"),
    ("repaint_song", {"song": "/v1/audio/x/0.mp3", "start": 0, "end": 1}, "song: This server has no such"),
    ("repaint_song", {"song": "/etc/passwd", "start": 0, "end": 1}, "song: Input should be an absolute"),
    ("extend_song", {"song": "/v1/audio/x/0.mp3", "seconds": 5}, "song: This server has no such song."),
    ("extend_song", {"song": "/v1/audio/x/0.mp3"}, "seconds: Field required."),
    ("follow_job", {"job_id": "nobody"}, "Job not found."),
    ("cancel_job", {}, "job_id: Field required."),
)


async def test_a_wrong_argument_is_an_answer_that_names_it(url: str, service: LocalJobService) -> None:
    async with agent(url) as client:
        for tool, arguments, told in WRONG:
            result = await client.call_tool(tool, arguments)
            assert result.is_error
            assert text(result).startswith(told)
    assert not service.jobs


async def test_a_tool_that_does_not_exist_is_an_error_of_the_protocol(url: str) -> None:
    async with agent(url) as client:
        with pytest.raises(MCPError, match="There is no such tool"):
            await client.call_tool("play_song", {})


async def test_a_fault_of_the_server_tells_nothing_of_its_insides(
    url: str, service: LocalJobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_new: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(service, "submit", fail)
    async with agent(url) as client:
        result = await client.call_tool("make_song", {"caption": "x"})
    assert (result.is_error, text(result)) == (True, "Internal server error.")


async def test_a_full_queue_is_told_with_the_time_to_try_again(url: str) -> None:
    async with agent(url) as client:
        for _ in range(3):
            await client.call_tool("make_song", {"caption": "x", "wait_seconds": 0})
        result = await client.call_tool("make_song", {"caption": "x", "wait_seconds": 0})
    assert result.is_error
    assert "try again in" in text(result)


@pytest.fixture
def alice(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    entries = [{"name": name, "sha256": digest_of(f"acestep-{name}")} for name in ("alice", "bob")]
    monkeypatch.setenv(KEYS_VARIABLE, str(entries))
    return {"Authorization": "Bearer acestep-alice"}


async def test_keys_count_as_everywhere_and_links_have_tokens(
    alice: dict[str, str], service: LocalJobService, settings: Settings, storage: AudioStorage
) -> None:
    bob = {"X-API-Key": "acestep-bob"}
    async with served(create_app(service, settings, storage)) as url:
        async with httpx.AsyncClient(base_url=url) as http:
            refused = await http.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        async with agent(url, **alice) as client:
            making = asyncio.create_task(client.call_tool("make_song", {"audio_format": "wav"}))
            await finished(service, storage)
            (link,) = links(await making)
        job_id = service.jobs[-1].job_id
        assert service.jobs[-1].client == "alice"
        async with httpx.AsyncClient() as http:
            assert (await http.get(link.uri)).status_code == 200
        async with agent(url, **bob) as other:
            result = await other.call_tool("cancel_job", {"job_id": job_id})
        assert text(result) == "Job not found."


async def test_it_works_below_a_path_prefix(
    service: LocalJobService, settings: Settings, storage: AudioStorage
) -> None:
    async with served(create_app(service, settings, storage), "/music") as url, agent(url) as client:
        making = asyncio.create_task(client.call_tool("make_song", {"audio_format": "wav"}))
        path = await finished(service, storage)
        (link,) = links(await making)
    assert link.uri == f"{url}/music{path}"


PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


JSON = {"Content-Type": "application/json"}
STREAM = {"Accept": "application/json, text/event-stream"}
NO_CALLS: tuple[tuple[int, str, dict[str, Any]], ...] = (
    (405, "GET", {"headers": {"Accept": "text/event-stream"}}),
    (405, "DELETE", {}),
    (403, "POST", {"json": PING, "headers": {"Origin": "https://evil.example"}}),
    (400, "POST", {"content": b"{", "headers": JSON}),
    (400, "POST", {"content": b"[" * 5_000, "headers": JSON}),
    (413, "POST", {"json": {"x": "y" * (1 << 20)}}),
    (415, "POST", {"content": b"hello", "headers": {"Content-Type": "text/plain"}}),
)


async def test_what_is_no_call_is_refused_as_everywhere(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as http:
        for status, method, sent in NO_CALLS:
            answer = await http.request(method, "/mcp", **sent)
            assert answer.status_code == status, sent
            assert answer.json()["detail"]


async def test_a_call_may_be_nested_so_deep(url: str) -> None:
    """The SDK that reads it again fails in its own way where it is nested deeper than Python can follow."""
    async with httpx.AsyncClient(base_url=url, headers=STREAM) as http:
        for levels in (MAX_JSON_DEPTH, MAX_JSON_DEPTH + 1, 900):
            value: Any = []
            for _ in range(levels - 3):  # beside the call itself and its parameters
                value = [value]
            answer = await http.post("/mcp", json={**PING, "params": {"_meta": {}, "x": value}})
            if levels <= MAX_JSON_DEPTH:
                assert answer.status_code == 200, answer.text
            else:
                assert answer.status_code == 400
                assert "nested too deeply" in answer.json()["detail"]


async def test_a_host_that_is_not_named_is_refused(
    service: LocalJobService, settings: Settings, storage: AudioStorage
) -> None:
    hosted = settings.model_copy(update={"api": settings.api.model_copy(update={"hosts": ("studio.local",)})})
    async with served(create_app(service, hosted, storage)) as url, httpx.AsyncClient(base_url=url) as http:
        assert (await http.post("/mcp", json=PING)).status_code == 421


async def test_a_client_has_a_number_of_calls_at_a_time(
    service: LocalJobService, settings: Settings, storage: AudioStorage
) -> None:
    api = settings.api.model_copy(update={"client_requests": 1})
    app = create_app(service, settings.model_copy(update={"api": api}), storage)
    async with served(app) as url, agent(url) as client:
        following = asyncio.create_task(client.call_tool("make_song", {"caption": "x"}))
        await until(lambda: bool(service.jobs))
        async with httpx.AsyncClient(base_url=url) as http:
            refused = await http.post("/mcp", json=PING)
        service.tracker.cancel(service.jobs[-1].job_id)
        await following
    assert refused.status_code == 429
    assert refused.headers["retry-after"]


async def test_a_call_that_is_cut_off_frees_its_place_and_its_job_goes_on(
    service: LocalJobService, settings: Settings, storage: AudioStorage
) -> None:
    api = settings.api.model_copy(update={"client_requests": 1})
    app = create_app(service, settings.model_copy(update={"api": api}), storage)
    call = {
        **PING,
        "method": "tools/call",
        "params": {"name": "make_song", "arguments": {"caption": "x"}},
    }
    async with served(app) as url, httpx.AsyncClient(base_url=url, headers=STREAM) as http:
        calling = asyncio.create_task(http.post("/mcp", json=call))
        await until(lambda: bool(service.jobs))
        await service.until_followed(service.jobs[0].job_id)
        assert (await http.post("/mcp", json=PING)).status_code == 429
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        while (await http.post("/mcp", json=PING)).status_code == 429:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert service.jobs[0].state is JobState.QUEUED


async def test_it_can_be_switched_off_and_llms_txt_says_what_there_is(
    service: LocalJobService, settings: Settings, storage: AudioStorage, http: httpx.AsyncClient
) -> None:
    assert "[MCP endpoint](mcp)" in (await http.get("/llms.txt")).text
    without = settings.model_copy(update={"api": ApiSettings(mcp=False)})
    transport = httpx.ASGITransport(create_app(service, without, storage))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as other:
        assert (await other.post("/mcp", json=PING)).status_code == 404
        text = (await other.get("/llms.txt")).text
    assert text.startswith("# acestep-serve\n")
    assert "MCP" not in text
