"""An agent makes, repaints, follows and cancels on the running server, behind Serve's proxy."""

import io

import soundfile
from mcp import Client
from mcp_types import CallToolResult, ResourceLink

from tests.live_server import Client as User

SONG = {"caption": "calm piano", "audio_duration": 4, "batch_size": 1, "audio_format": "wav"}


def path_of(result: CallToolResult) -> str:
    """The path of the only song in an answer."""
    assert not result.is_error, result.content
    (link,) = (part for part in result.content if isinstance(part, ResourceLink))
    (path,) = result.structured_content["result"]["audio_paths"]
    assert link.uri.endswith(path)
    return path


async def test_an_agent_makes_a_song_with_progress_repaints_it_and_cancels_another(server: User) -> None:
    told: list[float] = []

    async def tell(progress: float, _total: float | None, _message: str | None) -> None:
        told.append(progress)

    async with Client(f"{str(server.http.base_url).rstrip('/')}/mcp") as agent:
        song = path_of(await agent.call_tool("make_song", SONG, progress_callback=tell))
        assert told == sorted(told)
        assert len(set(told)) > 1
        repainted = path_of(
            await agent.call_tool(
                "repaint_song", {"song": song, "start": 1, "end": 2, "audio_format": "wav", "batch_size": 1}
            )
        )
        longer = path_of(
            await agent.call_tool(
                "extend_song", {"song": song, "seconds": 2, "audio_format": "wav", "batch_size": 1}
            )
        )
        begun = await agent.call_tool("make_song", {**SONG, "audio_duration": 60, "wait_seconds": 0})
        cancelled = await agent.call_tool("cancel_job", {"job_id": begun.structured_content["job_id"]})
        assert cancelled.structured_content["status"] == "cancelled"
        wrong = await agent.call_tool("make_song", {"caption": "x", "bpm": 1000})
    assert wrong.is_error
    lengths = [soundfile.info(io.BytesIO(server.audio(path))).frames for path in (song, repainted, longer)]
    assert lengths == [4 * 48_000, 4 * 48_000, 6 * 48_000]
    provenance = server.http.get(f"{song}/provenance").raise_for_status().json()
    assert provenance["marks"] == ["INFO", "XMP"]
    assert provenance["digital_source_type"].endswith("/trainedAlgorithmicMedia")
    provenance = server.http.get(f"{repainted}/provenance").raise_for_status().json()
    assert provenance["digital_source_type"].endswith("/compositeWithTrainedAlgorithmicMedia")
