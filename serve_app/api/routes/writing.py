"""`POST /v1/music/sample`, `/v1/music/format` and `/v1/music/understand`: the LM's work beside songs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response

from configs.settings import ApiSettings
from serve_app.api.access.callers import Caller, Callers
from serve_app.api.access.capacity import ClientSlots, Slots
from serve_app.api.errors import error_responses
from serve_app.api.intake.body import Body, BodyReader, is_multipart
from serve_app.api.intake.openapi import (
    FORMAT_FIELDS,
    QUERY_FIELDS,
    SAMPLE_FIELDS,
    UNDERSTAND_FIELDS,
    request_body,
)
from serve_app.api.intake.preferences import PreferHeader
from serve_app.api.intake.submission import Arrival, Submission
from serve_app.api.intake.writing import Writing, format_request, sample_request
from serve_app.api.responses import SubmitResponse, WrittenSongResponse
from serve_app.api.threads import WorkerPool
from serve_app.api.waiting import DOCUMENTED, WaitingSubmits
from serve_app.jobs.shown import JobResponse
from serve_app.request.capabilities import Limits
from serve_app.request.schemas import GenerateRequest, Output

SOURCE_NAMES = ("audio", "file", "recording")
"""Further names of the upload of a recording to describe."""

Strict = Annotated[bool, Header(description="1 refuses unknown fields instead of ignoring them.")]


def writing_router(
    submission: Submission,
    writing: Writing,
    callers: Callers,
    limits: Limits,
    settings: ApiSettings,
    bodies: BodyReader,
    pool: WorkerPool,
    slots: Slots,
    waiting: WaitingSubmits,
) -> APIRouter:
    """Songs as text at once, and jobs that describe recordings."""
    router = APIRouter(tags=["writing"])
    texts = ClientSlots("songs being written", settings.client_requests, slots)
    uploads = ClientSlots("uploads", settings.client_uploads, slots)

    async def written(
        request: Request, caller: Caller, parse: Callable[[Body], GenerateRequest]
    ) -> WrittenSongResponse:
        with texts.taken(caller.client.name):
            async with bodies.read(request) as body:
                asked = await pool.run_unless_short(body.text_bytes, parse, body)
            return await writing.write(asked)

    @router.post(
        "/v1/music/sample",
        responses=error_responses(400, 408, 413, 415, 422, 429),
        openapi_extra={"requestBody": request_body(limits, SAMPLE_FIELDS, (), QUERY_FIELDS)},
    )
    async def sample(
        request: Request, caller: Annotated[Caller, Depends(callers)], x_strict: Strict = False
    ) -> WrittenSongResponse:
        """Let the LM write a song from `query`, at once: caption, lyrics and metadata.

        `instrumental: true` asks for a song without lyrics. Given metadata and `vocal_language` win.
        """
        return await written(request, caller, lambda body: sample_request(body, limits, x_strict))

    @router.post(
        "/v1/music/format",
        responses=error_responses(400, 408, 413, 415, 422, 429),
        openapi_extra={"requestBody": request_body(limits, FORMAT_FIELDS, ())},
    )
    async def rewrite(
        request: Request, caller: Annotated[Caller, Depends(callers)], x_strict: Strict = False
    ) -> WrittenSongResponse:
        """Let the LM rewrite `caption` and `lyrics` and complete the metadata, at once."""
        return await written(request, caller, lambda body: format_request(body, limits, x_strict))

    @router.post(
        "/v1/music/understand",
        responses=DOCUMENTED | error_responses(400, 408, 409, 413, 415, 422, 429),
        openapi_extra={"requestBody": request_body(limits, UNDERSTAND_FIELDS, ("src_audio",))},
    )
    async def understand(
        request: Request,
        response: Response,
        caller: Annotated[Caller, Depends(callers)],
        x_strict: Strict = False,
        idempotency_key: Annotated[str | None, Header(max_length=255, pattern="^[!-~]+$")] = None,
        prefer: PreferHeader = None,
    ) -> SubmitResponse | JobResponse:
        """Queue a job that describes the recording `src_audio`: caption, lyrics, metadata and audio codes."""
        arrival = Arrival.of(request)
        with waiting.slot(prefer, caller):
            with uploads.taken(caller.client.name):
                if is_multipart(request):
                    await submission.admit(caller, idempotency_key)
                async with bodies.read(request) as body:
                    accepted = await submission.submit(
                        _description_of(body), caller, x_strict, idempotency_key, arrival
                    )
            return await waiting.answer(request, response, caller, prefer, accepted)

    return router


def _description_of(body: Body) -> Body:
    """The body of a job that describes its recording, which may have another name than `src_audio`."""
    files = {"src_audio" if name in SOURCE_NAMES else name: file for name, file in body.files.items()}
    return replace(body, values={**body.values, "output": Output.DESCRIPTION.value}, files=files)
