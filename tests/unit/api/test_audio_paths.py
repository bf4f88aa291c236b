"""Recordings that a request names by their paths in the folders that the server may read."""

from pathlib import Path

import httpx
import pytest

from serve_app.storage import AudioStorage
from tests.audio import write_recording
from tests.decoded_audio import decoded, stored_recording
from tests.unit.api.conftest import LocalJobService

GENERATE = "/v1/music/generate"
COVER = {"task_type": "cover"}


async def test_a_path_in_an_audio_folder_is_copied(
    http: httpx.AsyncClient, service: LocalJobService, storage: AudioStorage, audio_in: Path
) -> None:
    recording = write_recording(audio_in / "song.wav", 2.0)
    content = recording.read_bytes()
    answer = await http.post(GENERATE, json={**COVER, "src_audio_path": str(recording)})
    assert answer.status_code == 200, answer.text
    recording.unlink()
    assert storage.open(service.last.source.uri).read() == stored_recording(decoded(content))


async def test_a_link_inside_the_folder_counts_by_where_it_leads(
    http: httpx.AsyncClient, audio_in: Path, tmp_path: Path
) -> None:
    outside = write_recording(tmp_path / "secret.wav", 1.0)
    inside = write_recording(audio_in / "song.wav", 1.0)
    (audio_in / "out.wav").symlink_to(outside)
    (audio_in / "in.wav").symlink_to(inside)
    (audio_in / "circle.wav").symlink_to(audio_in / "circle.wav")
    statuses = {
        name: (await http.post(GENERATE, json={**COVER, "src_audio_path": str(audio_in / name)})).status_code
        for name in ("out.wav", "in.wav", "circle.wav")
    }
    assert statuses == {"out.wav": 422, "in.wav": 200, "circle.wav": 422}


async def test_the_folder_itself_may_be_named_through_a_link(
    tmp_path: Path, audio_in: Path, http: httpx.AsyncClient
) -> None:
    write_recording(audio_in / "song.wav", 1.0)
    link = tmp_path / "link"
    link.symlink_to(audio_in)
    assert (
        await http.post(GENERATE, json={**COVER, "src_audio_path": str(link / "song.wav")})
    ).status_code == 422


async def test_the_answer_never_says_whether_a_file_outside_exists(
    http: httpx.AsyncClient, tmp_path: Path, audio_in: Path
) -> None:
    outside = write_recording(tmp_path / "secret.wav", 1.0)
    (audio_in / "link").symlink_to(tmp_path)
    answers = [
        (await http.post(GENERATE, json={**COVER, "src_audio_path": path})).json()
        for path in (
            str(outside),
            str(tmp_path / "nothing.wav"),
            str(tmp_path),
            f"{audio_in}/../secret.wav",
            f"{audio_in}/../nothing.wav",
            f"{audio_in}/link/secret.wav",
            f"{audio_in}/link/nothing.wav",
        )
    ]
    assert all(answer == answers[0] for answer in answers)
    assert str(tmp_path) not in str(answers[0])


@pytest.mark.parametrize("name", ["nothing.wav", "folder", "x" * 300])
async def test_what_is_no_file_in_the_folder(http: httpx.AsyncClient, audio_in: Path, name: str) -> None:
    (audio_in / "folder").mkdir()
    answer = await http.post(GENERATE, json={**COVER, "src_audio_path": str(audio_in / name)})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "src_audio_path"]
