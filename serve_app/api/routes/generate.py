"""`POST /v1/music/generate`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from configs.settings import ApiSettings
from serve_app.api.access.callers import Caller, Callers
from serve_app.api.access.capacity import ClientSlots, Slots
from serve_app.api.errors import error_responses
from serve_app.api.intake.body import BodyReader, is_multipart
from serve_app.api.intake.headers import IdempotencyKeyHeader, Strict
from serve_app.api.intake.openapi import request_body
from serve_app.api.intake.preferences import PreferHeader
from serve_app.api.intake.submission import Arrival, Submission
from serve_app.api.responses import SubmitResponse
from serve_app.api.waiting import DOCUMENTED, WaitingSubmits
from serve_app.jobs.shown import JobResponse
from serve_app.request.capabilities import Limits


def generate_router(
    submission: Submission,
    callers: Callers,
    limits: Limits,
    settings: ApiSettings,
    bodies: BodyReader,
    slots: Slots,
    waiting: WaitingSubmits,
) -> APIRouter:
    """The route that submits jobs."""
    router = APIRouter(tags=["jobs"])
    uploads = ClientSlots("uploads", settings.client_uploads, slots)
    texts = ClientSlots("submits", settings.client_requests, slots)

    @router.post(
        "/v1/music/generate",
        responses=DOCUMENTED | error_responses(400, 408, 409, 413, 415, 422, 429),
        openapi_extra={"requestBody": request_body(limits)},
    )
    async def generate(
        request: Request,
        response: Response,
        caller: Annotated[Caller, Depends(callers)],
        x_strict: Strict = False,
        idempotency_key: IdempotencyKeyHeader = None,
        prefer: PreferHeader = None,
    ) -> SubmitResponse | JobResponse:
        """Queue a job; `GET /v1/jobs/{job_id}` shows its progress. With `Prefer: wait=N` wait for its end."""
        arrival = Arrival.of(request)
        may_have_files = is_multipart(request)
        with waiting.slot(prefer, caller):
            with (uploads if may_have_files else texts).taken(caller.client.name):
                if may_have_files:
                    await submission.admit(caller, idempotency_key)
                async with bodies.read(request) as body:
                    accepted = await submission.submit(body, caller, x_strict, idempotency_key, arrival)
            return await waiting.answer(request, response, caller, prefer, accepted)

    return router
