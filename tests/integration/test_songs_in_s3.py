"""A server whose audio files are in S3. Recordings go in, songs come out, and no other file stays there."""

import io
import time

import httpx
import pytest
import soundfile

from tests.encoded_audio import music, sound_file
from tests.live_server import GuardedServer

TIDY_SECONDS = 30.0


def test_a_song_of_an_upload_is_made_fetched_in_parts_and_used_again(guarded: GuardedServer) -> None:
    alice = guarded.alice
    before = guarded.stored
    recording = sound_file(music(2.0), "FLAC", "PCM_16")
    answer = alice.http.post(
        "/v1/music/generate",
        data={"task_type": "cover", "batch_size": 1, "audio_format": "wav"},
        files={"src_audio": ("mine.flac", recording, "audio/flac")},
    ).raise_for_status()
    job_id = answer.json()["job_id"]
    assert f"audio/{job_id}/source" in guarded.stored
    job = alice.wait(job_id)
    assert job["status"] == "succeeded", job["error"]

    url = job["result"]["first_audio_path"]
    song = guarded.anonymous.get(url).raise_for_status()
    assert song.headers["content-type"] == "audio/wav"
    assert soundfile.info(io.BytesIO(song.content)).duration == pytest.approx(2.0, abs=0.001)
    middle = guarded.anonymous.get(url, headers={"Range": "bytes=100-299"})
    assert (middle.status_code, middle.content) == (206, song.content[100:300])
    beyond = guarded.anonymous.get(url, headers={"Range": f"bytes={len(song.content)}-"})
    assert beyond.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE

    again = alice.make(task_type="cover", src_audio_path=url, batch_size=1)
    assert again["duration"] == pytest.approx(2.0, abs=0.1)

    songs = {f"audio/{job_id}/1/0.wav"}
    deadline = time.monotonic() + TIDY_SECONDS
    while any(key.endswith("/source") for key in guarded.stored - before):
        assert time.monotonic() < deadline, "the recordings of ended jobs were not deleted"
        time.sleep(0.5)
    assert songs <= guarded.stored
