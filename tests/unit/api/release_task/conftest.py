"""Helpers for the ACE-Step API in process."""

import io
import json
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

import httpx
import pytest

from configs.settings import JobSettings, Settings
from deployments.common.audio_formats import FORMATS
from serve_app.request.spec import JobSpec
from serve_app.storage import AudioStorage
from tests.unit.api.conftest import LocalJobService

CONTENT = bytes(range(256)) * 8 + b"end"
RESULT: dict[str, Any] = {
    "generation_info": "Steps: 8, Scale: 7.0",
    "status_message": "✅ Generation completed successfully! bpm '500' became 300.",
    "bpm": 72,
    "duration": 10.0,
    "genres": None,
    "keyscale": "C Major",
    "timesignature": None,
    "metas": {
        "bpm": 72,
        "duration": 10.0,
        "genres": None,
        "keyscale": "C Major",
        "timesignature": None,
        "caption": "a sad song of the LM",
        "lyrics": "[Verse]\nThe LM sings",
        "language": "en",
        "requested_caption": "a sad song",
        "requested_lyrics": "",
        "output": "songs",
    },
    "lm_model": None,
    "dit_model": "acestep-v15-turbo",
    "timings": {"planning": 0.5, "denoising": 1.5},
}

Submit = Callable[..., Awaitable[JobSpec]]
Finish = Callable[..., str]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A line that is long enough for tests that submit many jobs."""
    return settings.model_copy(update={"jobs": JobSettings(queue_limit=200)})


@pytest.fixture
def submit(http: httpx.AsyncClient, service: LocalJobService) -> Submit:
    """Sends fields to /release_task; the specification of the job."""

    async def send(fields: dict[str, Any] | None = None, **options: Any) -> JobSpec:
        request = options or {"json": fields or {}}
        answer = await http.post("/release_task", **request)
        assert answer.status_code == 200, answer.text
        assert answer.json()["data"]["task_id"] == service.jobs[-1].job_id
        return service.last

    return send


@pytest.fixture
def finish(service: LocalJobService, storage: AudioStorage) -> Finish:
    """Ends the first job of the queue with songs; its id."""

    def end(songs: int = 1, metas: Mapping[str, Any] = MappingProxyType({}), **changes: Any) -> str:
        claim = service.claim()
        job_id, audio_format = claim.job.job_id, claim.job.spec.request.audio_format
        uris = tuple(storage.result_uri(job_id, 1, index, audio_format) for index in range(songs))
        for uri in uris:
            storage.write(uri, io.BytesIO(CONTENT))
        extension = FORMATS[audio_format].extension
        paths = [f"/v1/audio/{job_id}/{index}.{extension}" for index in range(songs)]
        result = {
            **RESULT,
            "first_audio_path": paths[0] if paths else None,
            "second_audio_path": paths[1] if songs > 1 else None,
            "audio_paths": paths,
            "seed_value": ", ".join(str(7 + index) for index in range(max(songs, 1))),
            "audio_codes": [None] * max(songs, 1),
            **changes,
            "metas": {**RESULT["metas"], **metas},
        }
        service.finish(claim, result, uris)
        return job_id

    return end


async def query(http: httpx.AsyncClient, *ids: str, **options: Any) -> list[dict[str, Any]]:
    """The rows of tasks, each with its `items` parsed."""
    answer = await http.post("/query_result", json={"task_id_list": list(ids)}, **options)
    assert answer.status_code == 200, answer.text
    rows = answer.json()["data"]
    return [{**row, "items": json.loads(row["result"])} for row in rows]


def notes_of(spec: JobSpec) -> str:
    return " ".join(spec.notes)
