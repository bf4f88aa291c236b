"""Writes docs/reference.md: the API as its OpenAPI document describes it, with examples.

python -m docs.scripts.reference writes the page for the embedded default; a test checks that it is current.
The examples are made from the models of the answers, so that one with a wrong key cannot be written.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import yaml
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel

from configs.domain import NEWEST_SAMPLING
from configs.settings import ApiSettings, Settings
from deployments.common.marks import Marks
from serve_app.api.app import create_app
from serve_app.api.responses import (
    BatchSubmitResponse,
    Budget,
    EndedJobs,
    EngineSeconds,
    HealthData,
    HealthResponse,
    JobsResponse,
    ModelsResponse,
    ProvenanceResponse,
    ReadyResponse,
    StatsData,
    StatsResponse,
    SubmitResponse,
    UsageOfDay,
    UsageResponse,
    UsedAmounts,
    WrittenSongResponse,
)
from serve_app.api.service import JobService, Readiness
from serve_app.jobs.batches import BatchView
from serve_app.jobs.mode import Mode
from serve_app.jobs.model import JobState
from serve_app.jobs.shown import BatchResponse, JobResponse, JobResult
from serve_app.storage import AudioStorage

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference.md"

JOB_ID = "6f1c2f7a-9d3e-4c55-8a61-0f6a5b0c9e21"
OTHER_JOB_ID = "6f1c2f7a-9d3e-4c55-8a61-0f6a5b0c9e22"
BATCH_ID = "b12.2.7d1f0c3a9be45521f0aa"
MOMENT = 1767225600000
"""Epoch milliseconds of the examples."""
FACTS = {"bpm": 118, "duration": 20.0, "genres": None, "keyscale": "G major", "timesignature": "4/4"}

WORDS = {
    "caption": "upbeat pop song",
    "lyrics": "[Instrumental]",
    "language": "en",
    "requested_caption": "upbeat pop song",
    "requested_lyrics": "",
    "output": "songs",
}

INTRODUCTION = """\
# API reference

This page is generated from the server's OpenAPI document (`python -m docs.scripts.reference`) for the
embedded default: other servers differ in models, formats and maxima. A running server shows its own at
`/docs` and `/openapi.json`. [The job API](api.md) explains what the fields mean together, and
[the contract](contract.md) is what clients can rely on.
"""


_UNUSED = ("HTTPValidationError", "ValidationError")
"""FastAPI adds these schemas. The server answers with the list that 422 documents."""

Schemas = dict[str, Any]
"""Schemas of the OpenAPI document by name."""

Example = tuple[str, BaseModel | str | None]
"""A request, and its answer, which is an object, a text, or None."""


def examples(models: ModelsResponse) -> dict[str, Example]:
    """Return the example of each operation, by "METHOD path"."""
    running = JobResponse(
        job_id=JOB_ID,
        status=JobState.RUNNING,
        created_at=1767225600.0,
        started_at=1767225600.4,
        finished_at=None,
        queue_position=0,
        eta_seconds=4.1,
        avg_job_seconds=6.2,
        progress=0.45,
        stage="denoising",
        result=None,
        error=None,
        expires_at=None,
    )
    path = f"/v1/audio/{JOB_ID}/0.mp3"
    result = JobResult(
        first_audio_path=path,
        second_audio_path=None,
        audio_paths=[path],
        generation_info="Steps: 8, Scale: 7.0, Seeds: 42; Shift: 3.0, Method: ode; Sampling: 2026-08, …",
        status_message="✅ Generation completed successfully!",
        seed_value="42",
        metas={**FACTS, **WORDS},
        lm_model="acestep-5Hz-lm-0.6B",
        dit_model="acestep-v15-turbo",
        audio_codes=["<|audio_code_35847|><|audio_code_60127|>…"],
        timings={"planning": 0.41, "composing": 2.02, "denoising": 1.13, "decoding": 1.35, "encoding": 0.12},
        sampling=NEWEST_SAMPLING,
        lyric_timestamps=None,
        **FACTS,
    )
    finished = {"status": JobState.SUCCEEDED, "finished_at": 1767225606.1, "eta_seconds": None}
    songs_until, record_until = 1767225606.1 + 86_400, 1767225606.1 + 7 * 86_400
    made = {"progress": 1.0, "stage": "done", "result": result, "expires_at": songs_until}
    succeeded = running.model_copy(update={**finished, **made})
    cancelled = running.model_copy(
        update={**finished, "status": JobState.CANCELLED, "expires_at": record_until}
    )
    written = WrittenSongResponse(
        caption="A melancholic waltz with accordion, upright bass and a soft female voice",
        lyrics="[Verse]\nLa mer s'en va sans moi…",
        vocal_language="fr",
        bpm=84,
        key_scale="A minor",
        time_signature="3",
        audio_duration=30.0,
        genres="waltz, chanson",
        lm_model="acestep-5Hz-lm-1.7B",
        notes=[],
    )
    return {
        "POST /v1/music/generate": (
            "curl -s $SERVER/v1/music/generate -H 'Content-Type: application/json' \\\n"
            '  -d \'{"caption": "upbeat pop song", "thinking": true, "audio_duration": 20, "batch_size": 1,\n'
            '       "use_random_seed": false, "seed": 42}\'',
            SubmitResponse(job_id=JOB_ID, status=JobState.QUEUED, queue_position=1),
        ),
        "POST /v1/music/sample": (
            "curl -s $SERVER/v1/music/sample -H 'Content-Type: application/json' \\\n"
            '  -d \'{"query": "a sad waltz about the sea", "vocal_language": "fr"}\'',
            written,
        ),
        "POST /v1/music/format": (
            "curl -s $SERVER/v1/music/format -H 'Content-Type: application/json' \\\n"
            '  -d \'{"caption": "sad waltz", "lyrics": "La mer", "vocal_language": "fr", "bpm": 84}\'',
            written,
        ),
        "POST /v1/music/understand": (
            "curl -s $SERVER/v1/music/understand -F src_audio=@recording.flac",
            SubmitResponse(job_id=JOB_ID, status=JobState.QUEUED, queue_position=1),
        ),
        "GET /v1/jobs": (
            'curl -s "$SERVER/v1/jobs?status=running&limit=1"',
            JobsResponse(jobs=[running], next_cursor=None),
        ),
        "GET /v1/jobs/{job_id}": ('curl -s "$SERVER/v1/jobs/$JOB?wait=30"', succeeded),
        "DELETE /v1/jobs/{job_id}": ("curl -s -X DELETE $SERVER/v1/jobs/$JOB", cancelled),
        "GET /v1/jobs/{job_id}/events": (
            "curl -sN $SERVER/v1/jobs/$JOB/events",
            "event: running\ndata: {…the JSON of a poll…}\nid: 1-running-denoising-0.4500-0\n",
        ),
        "GET /v1/audio/{job_id}/{index}.{extension}": (
            "curl -s -o song.mp3 $SERVER/v1/audio/$JOB/0.mp3",
            None,
        ),
        "GET /v1/audio/{job_id}/{index}.{extension}/provenance": (
            "curl -s $SERVER/v1/audio/$JOB/0.mp3/provenance",
            ProvenanceResponse(
                job_id=JOB_ID,
                index=0,
                generator="acestep-serve 0.1.0",
                dit_model="acestep-v15-turbo",
                lm_model="acestep-5Hz-lm-0.6B",
                adapters=[],
                seed=42,
                digital_source_type=Marks("", None, 0).source_type_uri,
                marks=["ID3", "XMP"],
                sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            ),
        ),
        "GET /v1/models": ("curl -s $SERVER/v1/models", models),
        "GET /v1/stats": (
            "curl -s $SERVER/v1/stats",
            StatsResponse(
                data=StatsData(
                    jobs={"total": 126, "queued": 1, "running": 2, "succeeded": 120, "failed": 0},
                    queue_size=1,
                    queue_maxsize=200,
                    avg_job_seconds=6.2,
                ),
                timestamp=MOMENT,
                jobs={"queued": 1, "running": 2, "succeeded": 120, "failed": 0, "cancelled": 3},
                queue_length=1,
                queue_limit=200,
                avg_job_seconds=6.2,
                stage_seconds={"planning": 0.4, "composing": 2.0, "denoising": 1.1, "decoding": 1.3},
                replicas={"Ingress": 1, "LanguageModel": 1, "Generator": 1, "Codec": 1},
                mode=Mode.OPEN,
            ),
        ),
        "POST /v1/music/batch": (
            "curl -s $SERVER/v1/music/batch -H 'Content-Type: application/json' \\\n"
            '  -d \'{"requests": [{"caption": "upbeat pop song"}, {"caption": "calm piano"}]}\'',
            BatchSubmitResponse(
                batch_id=BATCH_ID,
                jobs=[
                    SubmitResponse(job_id=JOB_ID, status=JobState.QUEUED, queue_position=1),
                    SubmitResponse(job_id=OTHER_JOB_ID, status=JobState.QUEUED, queue_position=2),
                ],
            ),
        ),
        "GET /v1/batches/{batch_id}": ("curl -s $SERVER/v1/batches/$BATCH", _batch(JobState.QUEUED)),
        "DELETE /v1/batches/{batch_id}": (
            "curl -s -X DELETE $SERVER/v1/batches/$BATCH",
            _batch(JobState.CANCELLED),
        ),
        "GET /v1/usage": ('curl -s "$SERVER/v1/usage?from=2026-01-01&to=2026-01-31"', _usage()),
        "GET /health": ("curl -s $SERVER/health", _healthy(models)),
        "GET /ready": (
            "curl -s $SERVER/ready",
            ReadyResponse(
                status="ready",
                mode=Mode.OPEN,
                parts=dict.fromkeys(("JobTracker", "LanguageModel", "Generator", "Codec"), Readiness.READY),
                no_room=None,
            ),
        ),
    }


def _batch(second: JobState) -> BatchResponse:
    jobs = ((JOB_ID, JobState.SUCCEEDED), (OTHER_JOB_ID, second))
    return BatchResponse.of(BatchView(BATCH_ID, "", jobs, deleted=0))


def _usage() -> UsageResponse:
    amounts = {
        "jobs": EndedJobs(succeeded=3, failed=0, cancelled=1),
        "audio_seconds": 61.5,
        "codes": 300,
        "engine_seconds": EngineSeconds(language_model=4.1, generator=3.2, codec=2.75),
    }
    return UsageResponse.model_validate(
        {
            "from": "2026-01-01",
            "to": "2026-01-31",
            "days": [UsageOfDay.model_validate({"day": "2026-01-01", **amounts})],
            "total": UsedAmounts.model_validate(amounts),
            "budget": Budget(audio_seconds_per_day=3600.0, left=3538.5, resets_at=1767312000.0),
        }
    )


def _healthy(models: ModelsResponse) -> HealthResponse:
    data = HealthData(
        models_initialized=True,
        llm_initialized=True,
        loaded_model=models.default_model,
        loaded_lm_model=models.default_lm_model,
    )
    return HealthResponse(data=data, timestamp=MOMENT)


def application() -> FastAPI:
    """Return the API of the embedded default, without its job service."""
    config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    settings = Settings.model_validate(config["applications"][0]["args"])
    settings = settings.model_copy(update={"api": ApiSettings()})
    # Describing routes does not call the job service.
    service = cast(JobService, SimpleNamespace(condition=None))
    return create_app(service, settings, AudioStorage("memory://reference"))


def page() -> str:
    """Return the text of docs/reference.md."""
    app = application()
    api = app.openapi()
    schemas: Schemas = api["components"]["schemas"]
    models = ModelsResponse.model_validate(TestClient(app).get("/v1/models").json())
    listed = [model.model_copy(update={"created": MOMENT // 1000}) for model in models.data]
    shown = examples(models.model_copy(update={"data": listed, "vocal_languages": ["ar", "az", "…"]}))
    parts = [INTRODUCTION]
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            call = f"{method.upper()} {path}"
            parts += _operation(call, operation, shown.pop(call), schemas)
    if shown:
        raise ValueError(f"examples of endpoints that do not exist: {sorted(shown)}")
    parts.append("## Objects\n")
    for name, schema in schemas.items():
        if "properties" in schema and name not in _UNUSED:
            parts.append(f"### {name}\n\n{schema.get('description', '').strip()}\n")
            parts.append(_properties(schema, schemas))
    return "\n".join(parts)


def _operation(call: str, operation: dict[str, Any], example: Example, schemas: Schemas) -> list[str]:
    request, answer = example
    parts = [f"## `{call}`\n", operation.get("description", "").strip() + "\n"]
    if parameters := operation.get("parameters"):
        rows = [
            (
                f"`{field['name']}`",
                field["in"],
                _type(field["schema"], schemas),
                _default(field["schema"]),
                field.get("description", ""),
            )
            for field in parameters
        ]
        parts.append(_table(("parameter", "in", "type", "default", "meaning"), rows))
    if body := operation.get("requestBody"):
        parts.append(_wrapped(body["description"]) + "\n")
        parts.append(f"Content types: {', '.join(f'`{kind}`' for kind in body['content'])}.\n")
        described = body["content"].get("multipart/form-data") or body["content"]["application/json"]
        parts.append(_properties(described["schema"], schemas))
    answers = [
        (status, response["description"], _answer_type(response, schemas))
        for status, response in sorted(operation["responses"].items())
    ]
    parts.append(_table(("status", "when", "body"), answers))
    parts.append(f"```bash\n{request}\n```\n")
    if isinstance(answer, BaseModel):
        text = json.dumps(answer.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False)
        parts.append(f"```json\n{text}\n```\n")
    elif answer:
        parts.append(f"```\n{answer}```\n")
    return parts


def _properties(schema: dict[str, Any], schemas: Schemas) -> str:
    rows = [
        (
            f"`{name}`",
            _type(field, schemas),
            _default(field),
            field.get("description", ""),
        )
        for name, field in schema["properties"].items()
    ]
    return _table(("field", "type", "default", "meaning"), rows)


def _default(field: dict[str, Any]) -> str:
    return f"`{json.dumps(field['default'])}`" if "default" in field else ""


def _type(field: dict[str, Any], schemas: Schemas) -> str:
    """Return the type and the range of a field in words."""
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(choice, schemas) for choice in field["anyOf"]))
    if reference := field.get("$ref"):
        name = reference.rpartition("/")[2]
        has_section = "properties" in schemas[name]
        return f"[{name}](#{name.lower()})" if has_section else _type(schemas[name], schemas)
    if choices := field.get("enum"):
        return " ".join(f"`{choice}`" for choice in choices)
    if field.get("type") == "array":
        return f"array of {_type(field['items'], schemas)}" if field.get("items") else "array"
    words = field.get("type", "any")
    limits = [
        f"{sign} {_number(field[name])}"
        for name, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if name in field
    ]
    if "maxLength" in field:
        limits.append(f"up to {field['maxLength']:,} characters")
    return f"{words} ({', '.join(limits)})" if limits else words


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _answer_type(response: dict[str, Any], schemas: Schemas) -> str:
    content = response.get("content") or {}
    types = []
    for kind, media in content.items():
        schema = media.get("schema", {})
        choices = [choice for choice in schema.get("anyOf", [schema]) if _has_section(choice)]
        types.append(" or ".join(_type(choice, schemas) for choice in choices) or f"`{kind}`")
    return ", ".join(types)


def _has_section(schema: dict[str, Any]) -> bool:
    name = schema.get("$ref", "").rpartition("/")[2]
    return bool(name) and name not in _UNUSED


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in rows:
        cells = (" ".join(str(cell).split()).replace("|", "\\|") for cell in row)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _wrapped(text: str, width: int = 110) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
