"""Gets songs from a running server through its HTTP API, as arrays."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import soundfile

from acestep_client import Client, Job
from configs.domain import SAMPLE_RATE

AT_ONCE = 4
"""Number of jobs that wait or run at a time."""

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
    """Yield the song of each order, in order. Raises AcestepError when the server does not make one."""
    yield from _answers(url, orders, _song)


def results(url: str, orders: Iterable[Order]) -> Iterator[dict[str, Any]]:
    """Yield the result of each order, in order, for orders that ask for no audio. Raises AcestepError."""
    yield from _answers(url, orders, lambda job: job.wait().model_dump())


def _answers(url: str, orders: Iterable[Order], answer: Callable[[Job], _Answer]) -> Iterator[_Answer]:
    with Client(url) as client:
        waiting: list[Job] = []
        for order in orders:
            recordings = {name: wav(samples) for name, samples in order.recordings.items()}
            body = {"audio_format": "wav", "batch_size": 1, **order.body, **recordings}
            waiting.append(client.generate(**body))
            if len(waiting) >= AT_ONCE:
                yield answer(waiting.pop(0))
        for job in waiting:
            yield answer(job)


def _song(job: Job) -> Song:
    result = job.wait()
    samples, rate = soundfile.read(io.BytesIO(job.songs[0].read()), dtype="float32", always_2d=True)
    if rate != SAMPLE_RATE:
        raise RuntimeError(f"a song of {rate} Hz; {SAMPLE_RATE} Hz is the contract")
    return Song(np.ascontiguousarray(samples.T), result.model_dump())


def wav(samples: Samples) -> bytes:
    """Return the samples as a wav file of 16 bits."""
    file = io.BytesIO()
    soundfile.write(file, samples.T, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()
