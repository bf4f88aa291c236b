"""Users of a server with API keys: each has their own songs, over HTTP and through the client."""

from pathlib import Path

import pytest
import soundfile

from acestep_client import AuthenticationError, InvalidRequestError, NotFoundError
from acestep_client import Client as AcestepClient
from acestep_client.fields import SongFields
from tests.live_server import GuardedServer

SHORT: SongFields = {"audio_duration": 2.0, "batch_size": 1}


def test_songs_behind_keys(guarded: GuardedServer) -> None:
    result = guarded.alice.make(audio_duration=1, batch_size=1)
    url = result["first_audio_path"]
    path = url.partition("?")[0]
    assert guarded.anonymous.get(url).status_code == 200
    assert guarded.anonymous.get(path).status_code == 401
    assert guarded.alice.http.get(path).status_code == 200
    cover = {"task_type": "cover", "src_audio_path": url, "batch_size": 1}
    assert guarded.alice.make(**cover)["duration"] == pytest.approx(1.0, abs=0.1)
    assert guarded.bob.http.post("/v1/music/generate", json=cover).status_code == 422
    assert guarded.bob.http.get(path).status_code == 404


def test_clients_of_a_server_with_keys_see_their_own_jobs_alone(
    guarded: GuardedServer, tmp_path: Path
) -> None:
    url = str(guarded.anonymous.base_url)
    alice, bob = (
        AcestepClient(url, user.http.headers["authorization"].removeprefix("Bearer "))
        for user in (guarded.alice, guarded.bob)
    )
    job = alice.generate("a song", audio_format="wav", **SHORT)
    job.wait()
    (file,) = job.save(tmp_path)  # from an object store, to which the server redirects or not
    assert soundfile.info(file).frames == 2 * 48_000
    assert "token=" in job.songs[0].url
    assert "token=" not in job.songs[0].path
    again = alice.repaint(job.songs[0], "softer", start=0.5, end=1, **SHORT)
    assert again.wait().duration == 2.0
    with pytest.raises(NotFoundError):
        bob.job(job.id).refresh()
    with pytest.raises(InvalidRequestError, match="no such result"):
        bob.cover(job.songs[0], "stolen", **SHORT)
    assert job.id not in {known.id for known in bob.jobs()}
    for key in (None, "wrong"):
        with pytest.raises(AuthenticationError):
            AcestepClient(url, key).models()
    assert alice.models().max_duration == 10
