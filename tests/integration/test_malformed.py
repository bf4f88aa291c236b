"""The whole table of malformed requests over real HTTP, through Serve's proxy."""

import io
import itertools

import httpx
import pytest

from configs.settings import Settings
from tests.live_server import Client
from tests.malformed_requests import MALFORMED, Malformed, endless_upload

UPLOAD_BYTES = 300_000_000


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.name)
def test_malformed_request_is_refused(case: Malformed, server: Client) -> None:
    answer = server.http.post("/v1/music/generate", **case.request)
    assert answer.status_code == case.status, answer.text
    assert case.mentions in str(answer.json()["detail"])


def chunks_of_a_large_upload() -> itertools.islice:
    return itertools.islice(endless_upload(), UPLOAD_BYTES // 65_536)


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_an_upload_of_300_mb_is_too_large(server: Client, chunked: bool) -> None:
    assert Settings().api.max_upload_bytes < UPLOAD_BYTES
    if chunked:
        headers = {"Content-Type": "multipart/form-data; boundary=cut"}
        request = {"content": chunks_of_a_large_upload(), "headers": headers}
    else:
        request = {"files": {"src_audio": ("song.wav", io.BytesIO(bytes(UPLOAD_BYTES)))}}
    answer = server.http.post("/v1/music/generate", **request)
    assert answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
    assert "larger than" in answer.json()["detail"]


def test_the_server_still_works_after_all_of_it(server: Client) -> None:
    assert server.http.get("/v1/stats").json()["queue_length"] == 0
    server.make(audio_duration=1, batch_size=1)
