"""The content of requests stays out of the logs and out of other users' answers."""

import json
import logging
from typing import Any

import httpx
import pytest

from tests.malformed_requests import CUT, MALFORMED
from tests.unit.api.conftest import LocalJobService, wav_bytes
from tests.unit.api.test_jobs import GENERATE

MARKER = "secret-love-song-41"


def multipart(name: str, filename: str | None = None, content: bytes = MARKER.encode()) -> dict[str, Any]:
    file = f'; filename="{filename}"' if filename else ""
    head = f'--cut\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
    return {"content": head + content + b"\r\n--cut--\r\n", "headers": {"Content-Type": CUT}}


REQUESTS: list[dict[str, Any]] = [
    {"json": {"caption": MARKER, "lyrics": MARKER, "lm_negative_prompt": MARKER, "instruction": MARKER}},
    {"json": {"caption": MARKER * 200}},
    {"json": {"bpm": MARKER, "seed": MARKER, "thinking": MARKER, "timesteps": MARKER}},
    {"json": {MARKER: 1}, "headers": {"X-Strict": "1"}},
    {"json": {"metas": {"bpm": MARKER}}},
    {"json": {"src_audio_path": f"/home/{MARKER}.wav", "task_type": "cover"}},
    {"json": {"src_audio_path": f"/v1/audio/{MARKER}/0.mp3", "task_type": "cover"}},
    {"json": {"callback_url": f"http://{MARKER}@127.0.0.1/"}},
    {"content": f'{{"caption": "{MARKER}'.encode(), "headers": {"Content-Type": "application/json"}},
    {"content": MARKER.encode(), "headers": {"Content-Type": MARKER}},
    {"json": {}, "headers": {"Idempotency-Key": f"{MARKER} spaced"}},
    {"json": {}, "headers": {"Authorization": f"Bearer {MARKER}", "X-API-Key": MARKER}},
    multipart("src_audio", f"{MARKER}.wav"),
    multipart("src_audio", f"{MARKER}.wav", wav_bytes(level=0)),
    multipart("caption"),
    multipart(MARKER, MARKER),
]
URLS = [
    f"/v1/jobs/{MARKER}",
    f"/v1/jobs/{MARKER}?wait={MARKER}",
    f"/v1/jobs?cursor={MARKER}&status={MARKER}",
    f"/v1/jobs/{MARKER}/events",
    f"/v1/audio/{MARKER}/0.mp3?token={MARKER}",
    f"/{MARKER}",
]


def shown(caplog: pytest.LogCaptureFixture) -> str:
    """Return the server's log above debug level, tracebacks included, without the lines of this client."""
    formatter = logging.Formatter()
    return "\n".join(
        formatter.format(record)
        for record in caplog.records
        if record.levelno > logging.DEBUG and not record.name.startswith(("httpx", "httpcore"))
    )


@pytest.mark.parametrize("broken", [False, True], ids=["as it is", "with a bug"])
async def test_no_log_tells_what_somebody_sent(
    http: httpx.AsyncClient,
    service: LocalJobService,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    broken: bool,
) -> None:
    async def fails(*arguments: object) -> Any:
        try:
            raise KeyError(arguments)
        except KeyError as error:
            raise RuntimeError(f"no way to handle {arguments}") from error

    if broken:
        for method in ("submit", "view", "page"):
            monkeypatch.setattr(service, method, fails)
    caplog.set_level(logging.DEBUG)
    statuses = [(await http.post(GENERATE, **request)).status_code for request in REQUESTS]
    statuses += [(await http.get(url)).status_code for url in URLS]
    assert (500 in statuses) == broken
    assert broken == ("failed" in shown(caplog))
    assert MARKER not in shown(caplog)


async def test_no_refusal_repeats_the_values_that_caused_it(http: httpx.AsyncClient) -> None:
    for case in MALFORMED:
        answer = await http.post(GENERATE, **case.request)
        detail = answer.json()["detail"]
        assert isinstance(detail, str) or all(set(item) == {"loc", "msg", "type"} for item in detail)
    answer = await http.post(GENERATE, json={"bpm": MARKER, "src_audio_path": MARKER})
    assert MARKER not in answer.text


async def test_answers_hold_no_path_of_the_server(
    http: httpx.AsyncClient, service: LocalJobService, output: Any
) -> None:
    files = {"src_audio": ("a.wav", wav_bytes())}
    answer = await http.post(GENERATE, data={"task_type": "cover"}, files=files)
    job_id = answer.json()["job_id"]
    urls = (f"/v1/jobs/{job_id}", "/v1/jobs", "/v1/stats", "/v1/models", "/openapi.json")
    texts = [answer.text, *[(await http.get(url)).text for url in urls]]
    service.claim()
    texts.append((await http.delete(f"/v1/jobs/{job_id}")).text)
    assert json.loads(texts[-1])["status"] == "cancelled"
    assert str(output) not in "".join(texts)
