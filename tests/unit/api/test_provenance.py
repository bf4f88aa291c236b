"""`GET /v1/audio/.../provenance` tells how a song was made, to those who may hear it."""

import io
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from configs.settings import Settings
from serve_app.api.access.keys import KEYS_VARIABLE, digest_of
from serve_app.storage import AudioStorage
from tests.unit.api.conftest import LocalJobService
from tests.unit.api.test_jobs import RESULT

ALICE, BOB = ({"Authorization": f"Bearer acestep-{name}"} for name in ("alice", "bob"))
MADE = {
    "generator": "acestep-serve 0.1.0",
    "dit_model": "acestep-v15-turbo",
    "lm_model": None,
    "seed": 8,
    "digital_source_type": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
    "marks": ["ID3", "XMP"],
    "sha256": "ab" * 32,
}
MakeSongs = Callable[..., Awaitable[str]]


@pytest.fixture
def songs(http: httpx.AsyncClient, service: LocalJobService, storage: AudioStorage) -> MakeSongs:
    """Return a function that puts a job with two songs on the server and returns its id."""

    async def make(headers: dict[str, str] | None = None, **result: Any) -> str:
        await http.post("/v1/music/generate", json={}, headers=headers)
        claim = service.claim()
        job_id = claim.job.job_id
        uris = tuple(storage.result_uri(job_id, 1, item, "mp3") for item in range(2))
        for uri in uris:
            storage.write(uri, io.BytesIO(b"song"))
        paths = [f"/v1/audio/{job_id}/{item}.mp3" for item in range(2)]
        service.finish(claim, {**RESULT, "audio_paths": paths, **result}, uris)
        return job_id

    return make


async def test_it_tells_of_each_song_and_polls_do_not(http: httpx.AsyncClient, songs: MakeSongs) -> None:
    adapters = [{"name": "folk", "scale": 0.5, "sha256": "cd" * 32}]
    job_id = await songs(adapters=adapters, provenance=[{**MADE, "seed": 7}, MADE])
    answer = await http.get(f"/v1/audio/{job_id}/1.mp3/provenance")
    told = {"job_id": job_id, "index": 1, "adapters": adapters, **MADE}
    assert (answer.status_code, answer.json()) == (200, told)
    poll = await http.get(f"/v1/jobs/{job_id}")
    assert poll.json()["result"].keys() == RESULT.keys()


async def test_of_a_song_of_an_earlier_release_it_tells_what_is_known(
    http: httpx.AsyncClient, songs: MakeSongs
) -> None:
    job_id = await songs(seed_value="7, 8", lm_model="acestep-5Hz-lm-0.6B")
    answer = await http.get(f"/v1/audio/{job_id}/1.mp3/provenance")
    unknown = {"generator": None, "digital_source_type": None, "marks": [], "sha256": None, "adapters": []}
    known = {"dit_model": "acestep-v15-turbo", "lm_model": "acestep-5Hz-lm-0.6B", "seed": 8}
    assert answer.json() == {"job_id": job_id, "index": 1, **unknown, **known}


async def test_of_a_record_that_knows_nothing_it_tells_nothing(
    http: httpx.AsyncClient, service: LocalJobService, storage: AudioStorage
) -> None:
    await http.post("/v1/music/generate", json={})
    claim = service.claim()
    uri = storage.result_uri(claim.job.job_id, 1, 0, "mp3")
    service.finish(claim, {}, (uri,))
    answer = await http.get(f"/v1/audio/{claim.job.job_id}/0.mp3/provenance")
    assert answer.status_code == 200
    told = answer.json()
    assert (told["seed"], told["dit_model"], told["marks"]) == (None, None, [])


@pytest.mark.parametrize("name", ["2.mp3", "0.wav", "00.mp3", "zero.mp3"])
async def test_there_is_none_of_other_names(http: httpx.AsyncClient, songs: MakeSongs, name: str) -> None:
    answer = await http.get(f"/v1/audio/{await songs()}/{name}/provenance")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Audio file not found"})


@pytest.fixture
def settings(settings: Settings, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Settings:
    if "keys" in request.node.name:
        entries = [{"name": name, "sha256": digest_of(f"acestep-{name}")} for name in ("alice", "bob")]
        monkeypatch.setenv(KEYS_VARIABLE, str(entries))
    return settings


async def test_with_keys_the_owner_may_ask_and_so_may_who_has_the_songs_signed_url(
    http: httpx.AsyncClient, songs: MakeSongs
) -> None:
    job_id = await songs(ALICE, provenance=[MADE, MADE])
    poll = await http.get(f"/v1/jobs/{job_id}", headers=ALICE)
    path, token = poll.json()["result"]["audio_paths"][0].split("?")
    asked = f"{path}/provenance"
    assert (await http.get(asked, headers=ALICE)).json()["seed"] == 8
    assert (await http.get(f"{asked}?{token}")).json()["seed"] == 8
    assert (await http.get(asked, headers=BOB)).status_code == 404
    assert (await http.get(asked)).status_code == 401
    assert (await http.get(f"/v1/audio/{job_id}/1.mp3/provenance?{token}")).status_code == 401
