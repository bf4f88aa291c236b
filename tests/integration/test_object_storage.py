"""The differences of S3: uploads in parts, other writers, refusals, and a slow connection."""

import io
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import fsspec
import httpx
import pytest
import s3fs.core

from configs.settings import JobSettings, Settings, StorageSettings
from deployments.common.errors import StorageError
from deployments.common.stored_files import new_stored_file, stored_file
from serve_app.api.access.keys import digest_of, new_key
from serve_app.api.app import create_app
from serve_app.execution.failures import classify
from serve_app.jobs.housekeeping.identity import new_job_id, store_name
from serve_app.jobs.housekeeping.janitor import ABANDONED_SECONDS, Janitor
from serve_app.jobs.model import NewJob
from serve_app.jobs.storing.journal import Journal
from serve_app.jobs.storing.store import MemoryJobStore
from serve_app.jobs.tracker import JobTracker
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from serve_app.storage import SIGN_INS, AudioStorage
from tests.job_tracking import WORK, Clock
from tests.object_store import Environ, ObjectStore
from tests.ports import free_port
from tests.unit.api.conftest import LocalJobService, wav_bytes

PART_BYTES = 5 << 20
"""The smallest part that S3 accepts."""
SONG = bytes(range(256)) * 16


@pytest.fixture
def storage(bucket: str) -> AudioStorage:
    return AudioStorage(f"s3://{bucket}")


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Split uploads of more than two parts of 5 MB, instead of 50 MB."""
    monkeypatch.setattr(s3fs.core, "calculate_chunksize", lambda _size, **_: PART_BYTES)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, bucket: str) -> AudioStorage:
    """Return a bucket at an address where no server listens."""
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": f"http://127.0.0.1:{free_port()}"})
    return AudioStorage(f"s3://{bucket}")


def part(number: int) -> Callable[[Environ], bool]:
    return lambda request: f"partNumber={number}" in request["QUERY_STRING"]


def method(name: str) -> Callable[[Environ], bool]:
    return lambda request: request["REQUEST_METHOD"] == name


@pytest.mark.usefixtures("small_parts")
def test_an_upload_in_parts_appears_whole(
    storage: AudioStorage, object_store: ObjectStore, bucket: str
) -> None:
    content = bytes(range(250)) * (3 * PART_BYTES // 250)
    uri = storage.result_uri("job", 1, 0, "wav")
    storage.write(uri, io.BytesIO(content))
    assert object_store.unfinished_uploads(bucket) == []
    assert storage.size(uri) == len(content)
    with stored_file(uri) as copy:
        assert copy.read_bytes() == content
    assert (
        b"".join(storage.read(uri, PART_BYTES - 3, PART_BYTES + 3))
        == content[PART_BYTES - 3 : PART_BYTES + 3]
    )


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
    ("content", "refused"),
    [(SONG, method("PUT")), (bytes(3 * PART_BYTES), part(2))],
    ids=["at once", "in parts"],
)
def test_of_an_upload_that_fails_nothing_is_left(
    storage: AudioStorage,
    object_store: ObjectStore,
    bucket: str,
    content: bytes,
    refused: Callable[[Environ], bool],
) -> None:
    with object_store.refusing(refused), pytest.raises(StorageError, match="Access Denied"):
        storage.write(storage.result_uri("job", 1, 0, "wav"), io.BytesIO(content))
    assert object_store.keys(bucket) == []
    assert object_store.unfinished_uploads(bucket) == []


def test_what_other_processes_do_is_seen_at_once(
    storage: AudioStorage, object_store: ObjectStore, bucket: str
) -> None:
    job_id = str(uuid.uuid4())
    uri = storage.result_uri(job_id, 1, 0, "wav")
    assert storage.job_ids() == []
    object_store.put(bucket, f"{job_id}/1/0.wav", b"song")
    assert storage.job_ids() == [job_id]
    assert storage.size(uri) == 4
    object_store.put(bucket, f"{job_id}/1/0.wav", b"longer song")
    assert storage.size(uri) == 11
    assert b"".join(storage.read(uri, 0, 11)) == b"longer song"
    object_store.delete(bucket, f"{job_id}/1/0.wav")
    assert storage.job_ids() == []
    with pytest.raises(FileNotFoundError):
        storage.size(uri)
    with pytest.raises(FileNotFoundError):
        storage.open(uri)


def test_a_refused_deletion_is_an_error(
    storage: AudioStorage, object_store: ObjectStore, bucket: str
) -> None:
    storage.write(storage.recording_uri("job", "source"), io.BytesIO(SONG))
    with object_store.refusing(method("POST")), pytest.raises(StorageError, match="1 file"):
        storage.delete_job("job")
    assert object_store.keys(bucket) == ["job/source"]


def test_a_missing_bucket_is_not_a_missing_song(bucket: str) -> None:
    storage = AudioStorage(f"s3://not-{bucket}")
    with pytest.raises(StorageError, match="bucket does not exist"):
        storage.write(storage.recording_uri("job", "source"), io.BytesIO(SONG))


def test_a_storage_out_of_reach_is_found_out_within_seconds_and_worth_another_attempt(
    nowhere: AudioStorage,
) -> None:
    uri = nowhere.recording_uri("job", "source")
    for use in (
        lambda: nowhere.size(uri),
        lambda: nowhere.write(uri, io.BytesIO(SONG)),
    ):
        started = time.monotonic()
        with pytest.raises(StorageError, match="EndpointConnectionError") as raised:
            use()
        assert time.monotonic() - started < 30
        assert classify(raised.value).retryable


class Site:
    """The API over S3, with one key."""

    def __init__(
        self, storage: AudioStorage, http: httpx.AsyncClient, service: LocalJobService, key: str
    ) -> None:
        self.http = http
        self.key = {"X-API-Key": key}
        self._storage = storage
        self._service = service

    async def song(self) -> str:
        """Return the path of a finished song."""
        answer = await self.http.post("/v1/music/generate", json={"audio_format": "flac"}, headers=self.key)
        claim = self._service.claim()
        assert answer.json()["job_id"] == claim.job.job_id
        uri = self._storage.result_uri(claim.job.job_id, claim.job.attempt, 0, "flac")
        self._storage.write(uri, io.BytesIO(SONG))
        self._service.finish(claim, {}, (uri,))
        return f"/v1/audio/{claim.job.job_id}/0.flac"


@pytest.fixture
async def site(request: pytest.FixtureRequest, bucket: str, tmp_path: Path) -> AsyncIterator[Site]:
    key = new_key()
    keys_file = tmp_path / "keys.yaml"
    keys_file.write_text(f"- {{name: alice, sha256: {digest_of(key)}}}")
    storage = AudioStorage(f"s3://{bucket}")
    settings = Settings(
        api={"keys_file": keys_file},
        storage={"uri": f"s3://{bucket}", "redirect_seconds": getattr(request, "param", None)},
    )
    service = LocalJobService(settings.jobs)
    transport = httpx.ASGITransport(create_app(service, settings, storage), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        yield Site(storage, http, service, key)


@pytest.mark.parametrize("byte_range", [None, "bytes=10-19", "bytes=4000-", "bytes=-7"])
async def test_the_api_sends_songs_from_s3(site: Site, byte_range: str | None) -> None:
    headers = site.key | ({"Range": byte_range} if byte_range else {})
    answer = await site.http.get(await site.song(), headers=headers)
    parts = {None: SONG, "bytes=10-19": SONG[10:20], "bytes=4000-": SONG[4000:], "bytes=-7": SONG[-7:]}
    assert (answer.status_code, answer.content) == (206 if byte_range else 200, parts[byte_range])


@pytest.mark.parametrize("site", [60], indirect=True)
async def test_the_api_redirects_to_s3_those_who_may_have_the_song(site: Site) -> None:
    path = await site.song()
    answer = await site.http.get(path, headers=site.key)
    assert (answer.status_code, answer.headers["cache-control"]) == (302, "no-store")
    url = httpx.URL(answer.headers["location"])
    assert url.params["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
    assert url.params["X-Amz-Expires"] == "60"
    async with httpx.AsyncClient() as outside:
        whole, piece = await outside.get(url), await outside.get(url, headers={"Range": "bytes=10-19"})
    assert (whole.status_code, whole.content) == (200, SONG)
    assert (piece.status_code, piece.content) == (206, SONG[10:20])
    assert whole.headers["content-type"] == "audio/flac"
    job_id = path.split("/")[-2]
    assert whole.headers["content-disposition"] == f'inline; filename="{job_id}-0.flac"'

    told = await site.http.head(path, headers=site.key)
    assert (told.status_code, told.headers["content-length"]) == (200, str(len(SONG)))
    assert (await site.http.get(path)).status_code == 401
    assert (await site.http.get(path, params={"token": "1.x"})).status_code == 401
    assert (await site.http.get(path.replace("/0.", "/1."), headers=site.key)).status_code == 404


async def test_the_api_says_503_while_s3_refuses(site: Site, object_store: ObjectStore) -> None:
    path = await site.song()
    upload = {"src_audio": ("song.wav", wav_bytes(), "audio/wav")}
    with object_store.refusing(lambda _: True):
        answers = [
            await site.http.get(path, headers=site.key),
            await site.http.post(
                "/v1/music/generate", data={"task_type": "cover"}, files=upload, headers=site.key
            ),
        ]
    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert "audio files" in answer.json()["detail"]
    assert (await site.http.get(path, headers=site.key)).content == SONG


async def test_the_janitor_sweeps_a_bucket(object_store: ObjectStore, bucket: str) -> None:
    clock = Clock()
    clock.now = time.time()
    settings = StorageSettings(uri=f"s3://{bucket}", result_seconds=3600, record_seconds=7200)
    storage = AudioStorage(settings.uri)
    journal = Journal(MemoryJobStore())
    tracker = JobTracker(JobSettings(), journal, clock)
    janitor = Janitor(storage, settings, clock, clock)

    store = store_name(journal.store.secret())
    job_id, abandoned = new_job_id(store), new_job_id(store)
    tracker.submit(NewJob(job_id, JobSpec(GenerateRequest(), seeds=(1,)), WORK, uploaded_bytes=4))
    for name in (storage.recording_uri(job_id, "source"), storage.recording_uri(abandoned, "source")):
        storage.write(name, io.BytesIO(b"song"))
    for attempt in (1, 2):
        storage.write(storage.result_uri(job_id, attempt, 0, "wav"), io.BytesIO(b"song"))
    claim = tracker.claim("token")
    assert claim is not None
    tracker.finish(job_id, "token", {}, (storage.result_uri(job_id, 2, 0, "wav"),), 4)

    async def keys_after_sweep(seconds: float) -> set[str]:
        clock.now += seconds
        await journal.flushed()
        await janitor.sweep(tracker, journal)
        await journal.flushed()
        return set(object_store.keys(bucket)) - {f"{SIGN_INS}/{store}"}

    assert await keys_after_sweep(0) == {f"{job_id}/2/0.wav", f"{abandoned}/source"}
    assert await keys_after_sweep(ABANDONED_SECONDS / 2 + 1) == {f"{job_id}/2/0.wav", f"{abandoned}/source"}
    assert await keys_after_sweep(ABANDONED_SECONDS / 2 + 1) == set()


def test_a_file_that_is_being_written_is_not_there_yet(
    storage: AudioStorage, object_store: ObjectStore, bucket: str
) -> None:
    with new_stored_file(storage.result_uri("job", 1, 0, "wav")) as file:
        file.write(SONG)
        assert object_store.keys(bucket) == []
    assert object_store.keys(bucket) == ["job/1/0.wav"]
