"""Songs as text: `/create_random_sample` from a list, `/v1/create_sample` and `/format_input` by the LM."""

import secrets
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from configs.domain import INSTRUMENTAL
from configs.settings import ApiSettings
from serve_app.api.access.capacity import ClientSlots, Slots
from serve_app.api.errors import RETRY_SECONDS
from serve_app.api.intake.body import Body
from serve_app.api.intake.submission import Submission
from serve_app.api.intake.writing import Writing, format_request, sample_request
from serve_app.api.readiness import KnownCondition
from serve_app.api.release_task.calls import Call, CallReader
from serve_app.api.release_task.envelope import answer
from serve_app.api.release_task.mapping import RequestMapper
from serve_app.api.release_task.shortening import shortened
from serve_app.api.responses import WrittenSongResponse
from serve_app.api.threads import WorkerPool
from serve_app.request.capabilities import Limits
from serve_app.request.errors import TextsTooLongError
from serve_app.request.schemas import GenerateRequest

EXAMPLES = Path(__file__).with_name("examples.yaml")
SIMPLE = "simple_mode"
"""The type of sample that is one sentence."""
WRITTEN_FROM = (
    "caption",
    "lyrics",
    "bpm",
    "key_scale",
    "time_signature",
    "audio_duration",
    "vocal_language",
    "lm_temperature",
    "lm_model_path",
    "lm_backend",
)
"""The fields that a song is written or rewritten from."""


def samples_router(
    calls: CallReader,
    mapper: RequestMapper,
    submission: Submission,
    writing: Writing,
    known_condition: KnownCondition,
    limits: Limits,
    settings: ApiSettings,
    all_slots: Slots,
    pool: WorkerPool,
) -> APIRouter:
    """Ideas for songs. `pool` translates large bodies."""
    router = APIRouter()
    slots = ClientSlots("songs being written", settings.client_requests, all_slots)

    @router.post("/create_random_sample")
    async def create_random_sample(request: Request) -> Response:
        async with calls.read(request) as call:
            kind = call.value("sample_type")
        return answer(random_sample(simple=kind is None or kind == SIMPLE))

    @router.post("/format_input")
    async def format_input(request: Request) -> Response:
        async with calls.read(request) as call:
            fields = await pool.run_unless_short(call.body.text_bytes, _fields, call, mapper)
            asked = format_request(Body(fields), limits, strict=False)
        try:
            song = await written(call, asked)
        except TextsTooLongError:  # The LM reads what it can, and the words stay as they are.
            short, _ = await shortened(asked, submission.prompt_fits)
            song = await written(call, short.model_copy(update={"use_format": False}))
            song = song.model_copy(update={"caption": asked.caption, "lyrics": asked.lyrics})
        return answer(
            {
                "caption": song.caption,
                "lyrics": song.lyrics if asked.lyrics or song.lyrics != INSTRUMENTAL else "",
                "bpm": song.bpm,
                "key_scale": song.key_scale,
                "time_signature": song.time_signature,
                "duration": song.audio_duration,
                "vocal_language": song.vocal_language,
            }
        )

    @router.post("/v1/create_sample")
    async def create_sample(request: Request) -> Response:
        async with calls.read(request) as call:
            own = {"query": call.value("query"), "instrumental": call.value("instrumental")}
            given = await pool.run_unless_short(call.body.text_bytes, _fields, call, mapper, own["query"])
            fields = {"vocal_language": "unknown", **given}
            own["query"] = fields.pop("sample_query", None)
            fields = {name: fields[name] for name in fields if name not in {"caption", "lyrics"}}
            asked = sample_request(Body({**fields, **own}), limits, strict=False)
        song = await written(call, asked)
        return answer(
            {
                "caption": song.caption,
                "lyrics": song.lyrics,
                "bpm": song.bpm,
                "keyscale": song.key_scale,
                "duration": song.audio_duration,
                "timesignature": song.time_signature,
                "vocal_language": song.vocal_language,
            }
        )

    async def written(call: Call, asked: GenerateRequest) -> WrittenSongResponse:
        """The song that the LM writes, without what it could not write in time.

        Raises HTTPException with 503 where metadata is missing because a part of the server is away.
        """
        with slots.taken(call.caller.client.name):
            song = await writing.write(asked)
        if None in (song.bpm, song.key_scale, song.time_signature):
            condition = await known_condition()
            if condition.away:
                retry = {"Retry-After": f"{RETRY_SECONDS:g}"}
                raise HTTPException(503, f"Not ready: {', '.join(condition.away)}", retry)
        return song

    return router


def _fields(call: Call, mapper: RequestMapper, sample_query: Any = None) -> dict[str, Any]:
    """The given fields of the song by their names in the job API, and `sample_query`, all read leniently.

    Raises RequestValidationError.
    """
    values = {**call.body.values, "sample_query": sample_query}
    if (temperature := values.pop("temperature", None)) is not None:
        values.setdefault("lm_temperature", temperature)
    request = mapper(Body(values, is_form=call.body.is_form), strict=False).request
    names = (*WRITTEN_FROM, "sample_query")
    return {name: getattr(request, name) for name in names if name in request.model_fields_set}


def random_sample(simple: bool) -> dict[str, Any]:
    """One of the stored examples: as one sentence, or as the fields of a song."""
    example = secrets.choice(examples())
    instrumental = bool(example.get("instrumental"))
    if simple:
        return {
            "description": example["description"],
            "instrumental": instrumental,
            "vocal_language": example["language"],
        }
    return {
        "think": True,
        **{name: example[name] for name in ("caption", "lyrics", "bpm", "duration")},
        **{name: example[name] for name in ("keyscale", "language", "timesignature")},
    }


@cache
def examples() -> tuple[dict[str, Any], ...]:
    """The stored examples."""
    return tuple(yaml.safe_load(EXAMPLES.read_text(encoding="utf-8")))
