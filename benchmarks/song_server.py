"""Gets songs from a running server through its HTTP API, as arrays."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import numpy as np
import numpy.typing as npt
import soundfile

from configs.domain import SAMPLE_RATE

AT_ONCE = 4
"""Number of jobs that wait or run at a time."""
_PATIENCE = 120.0

_Answer = TypeVar("_Answer")

Samples = npt.NDArray[np.float32]
"""[2, samples] at 48 kHz."""


@dataclass(frozen=True)
class Order:
    """One job to ask for."""

    body: Mapping[str, Any]
    """The body of `POST /v1/music/generate`."""
    recordings: Mapping[str, Samples]
    """`src_audio` and `reference_audio`, if the job has them."""


@dataclass(frozen=True)
class Song:
    """The first song of a job."""

    samples: Samples
    result: Mapping[str, Any]
    """The result as `GET /v1/jobs/{id}` shows it."""


def songs(url: str, orders: Iterable[Order]) -> Iterator[Song]:
    """Yield the song of each order, in order. Raises RuntimeError when the server does not make one."""
    yield from _answers(url, orders, _song)


def results(url: str, orders: Iterable[Order]) -> Iterator[dict[str, Any]]:
    """Yield the result of each order, in order, for orders that ask for no audio. Raises RuntimeError."""
    yield from _answers(url, orders, result_of)


def _answers(
    url: str, orders: Iterable[Order], answer: Callable[[httpx.Client, str], _Answer]
) -> Iterator[_Answer]:
    with httpx.Client(base_url=url, timeout=_PATIENCE) as http:
        waiting: list[str] = []
        for order in orders:
            waiting.append(_submit(http, order))
            if len(waiting) >= AT_ONCE:
                yield answer(http, waiting.pop(0))
        for job_id in waiting:
            yield answer(http, job_id)


def _submit(http: httpx.Client, order: Order) -> str:
    body = {"audio_format": "wav", "batch_size": 1, **order.body}
    if order.recordings:
        fields = {name: str(value) for name, value in body.items()}
        files = {name: (f"{name}.wav", wav(samples)) for name, samples in order.recordings.items()}
        answer = http.post("/v1/music/generate", data=fields, files=files)
    else:
        answer = http.post("/v1/music/generate", json=body)
    if answer.is_error:
        raise RuntimeError(f"the server refused an order ({answer.status_code}): {answer.text}")
    return str(answer.json()["job_id"])


def result_of(http: httpx.Client, job_id: str) -> dict[str, Any]:
    """Wait for a job's result and return it. Raises RuntimeError when the job does not succeed."""
    while True:
        job = http.get(f"/v1/jobs/{job_id}", params={"wait": 30}).raise_for_status().json()
        if job["status"] == "succeeded":
            result: dict[str, Any] = job["result"]
            return result
        if job["status"] not in {"queued", "running"}:
            raise RuntimeError(f"a song was not made: {job['error']}")


def _song(http: httpx.Client, job_id: str) -> Song:
    result = result_of(http, job_id)
    file = http.get(result["first_audio_path"]).raise_for_status().content
    samples, rate = soundfile.read(io.BytesIO(file), dtype="float32", always_2d=True)
    if rate != SAMPLE_RATE:
        raise RuntimeError(f"a song of {rate} Hz; {SAMPLE_RATE} Hz is the contract")
    return Song(np.ascontiguousarray(samples.T), result)


def wav(samples: Samples) -> bytes:
    """Return the samples as a wav file of 16 bits."""
    file = io.BytesIO()
    soundfile.write(file, samples.T, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()
