"""A purged song leaves no byte of its words and its sound in store, storage, logs and traces of a server."""

from pathlib import Path

from tests.audio import write_recording
from tests.live_server import Client

CAPTION = "a caption that is searched for, bossa nova 5b1f"
LYRICS = "[verse]\nwords that are searched for 9c02"


def files_with(server: Client, needles: list[bytes]) -> list[str]:
    """Return the files of the server, its log files included, that hold one of these texts."""
    folder = server.audio_in.parent
    files = {path for path in folder.rglob("*") if path.is_file() and server.audio_in not in path.parents}
    found = []
    for path in sorted(files | set(server.logs)):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        found += [f"{path}: {needle[:40]!r}" for needle in needles if needle in content]
    return found


def test_nothing_of_a_purged_song_is_left_on_the_server(server: Client, tmp_path: Path) -> None:
    recording = write_recording(tmp_path / "mine.wav", 2.0)
    words = {"caption": CAPTION, "lyrics": LYRICS}
    asked = {**words, "task_type": "cover", "audio_format": "wav", "batch_size": 1}
    answer = server.http.post(
        "/v1/music/generate",
        data=asked,
        files={"src_audio": ("mine.wav", recording.read_bytes())},
        headers={"Prefer": "wait=60"},
    )
    job = answer.raise_for_status().json()
    if "preference-applied" not in answer.headers or job["status"] in {"queued", "running"}:
        job = server.wait(job["job_id"])
    assert job["status"] == "succeeded", job["error"]
    (song,) = (server.audio(path) for path in job["result"]["audio_paths"])
    needles = [CAPTION.encode(), b"words that are searched for 9c02", song[4000:4400]]
    assert len(files_with(server, needles)) >= len(needles)
    purged = server.http.delete(f"/v1/jobs/{job['job_id']}", params={"purge": True}).raise_for_status()
    assert purged.json() == {"job_id": job["job_id"], "complete": True}
    assert files_with(server, needles) == []
    assert server.http.get(f"/v1/jobs/{job['job_id']}").status_code == 404
    assert not (server.audio_in.parent / "output" / job["job_id"]).exists()
