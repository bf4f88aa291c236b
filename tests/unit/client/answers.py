"""Answers of a server that tests write."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpx

SUBMITTED = {"job_id": "job-1", "status": "queued", "queue_position": 1}
QUEUED = {
    "job_id": "job-1",
    "status": "queued",
    "created_at": 1.0,
    "started_at": None,
    "finished_at": None,
    "queue_position": 1,
    "eta_seconds": 9.0,
    "avg_job_seconds": 3.0,
    "progress": 0.0,
    "stage": "queued",
    "result": None,
    "error": None,
    "expires_at": None,
}
RUNNING = {**QUEUED, "status": "running", "queue_position": 0, "stage": "denoising", "progress": 0.5}
SONGS = ["/v1/audio/job-1/0.mp3?token=secret", "/v1/audio/job-1/1.mp3?token=secret"]
RESULT = {
    "first_audio_path": SONGS[0],
    "second_audio_path": SONGS[1],
    "audio_paths": SONGS,
    "generation_info": "8 steps",
    "status_message": "Success",
    "seed_value": "1, 2",
    "bpm": 90,
    "duration": 10.0,
    "genres": None,
    "keyscale": "C major",
    "timesignature": "4/4",
    "metas": {"caption": "a <b>song</b>\u2028in two lines"},
    "lm_model": None,
    "dit_model": "turbo",
    "audio_codes": [None, None],
    "timings": {"denoising": 1.0},
    "sampling": "2026-08",
}
SUCCEEDED = {
    **QUEUED,
    "eta_seconds": None,
    "status": "succeeded",
    "queue_position": 0,
    "progress": 1.0,
    "stage": "done",
    "result": RESULT,
}
FAILED = {**RUNNING, "status": "failed", "error": "The model ran out of memory"}
CANCELLED = {**RUNNING, "status": "cancelled"}


def refused(status: int, detail: Any = "No", **headers: str) -> httpx.Response:
    """An error of the server."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"detail": detail}, headers=named)


Answer = httpx.Response | dict[str, Any] | BaseException | Callable[[httpx.Request], httpx.Response]


class Answers:
    """A server that gives these answers one after the other, and keeps the requests."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = iter(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = next(self._answers)
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, dict):
            return httpx.Response(200, json=answer)
        return answer if isinstance(answer, httpx.Response) else answer(request)

    @property
    def is_used_up(self) -> bool:
        return next(self._answers, None) is None


class Cut(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body whose connection breaks after these parts."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = list(parts)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts
        raise httpx.ReadError("the connection broke")

    async def __aiter__(self) -> Any:
        for part in self._parts:
            yield part
        raise httpx.ReadError("the connection broke")
