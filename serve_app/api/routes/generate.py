"""`POST /v1/music/generate`."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request

from configs.settings import ApiSettings
from serve_app.api.body import read_body
from serve_app.api.callers import Caller, Callers
from serve_app.api.errors import error_responses
from serve_app.api.limits import Limits
from serve_app.api.openapi import request_body
from serve_app.api.responses import SubmitResponse
from serve_app.api.submission import Arrival, Submission


def generate_router(
    submission: Submission, callers: Callers, limits: Limits, settings: ApiSettings
) -> APIRouter:
    """Submitting jobs."""
    router = APIRouter(tags=["jobs"])

    @router.post(
        "/v1/music/generate",
        responses=error_responses(400, 408, 409, 413, 415, 422, 429),
        openapi_extra={"requestBody": request_body(limits)},
    )
    async def generate(
        request: Request,
        caller: Annotated[Caller, Depends(callers)],
        x_strict: Annotated[
            bool, Header(description="1 refuses unknown fields instead of ignoring them.")
        ] = False,
        idempotency_key: Annotated[
            str | None,
            Header(
                max_length=255,
                pattern="^[!-~]+$",
                description="Your name for this request: repeated with it within 24 hours, it gives the same "
                "job again; another request under the same name is refused.",
            ),
        ] = None,
    ) -> SubmitResponse:
        """Put a song in line; `GET /v1/jobs/{job_id}` tells how it goes."""
        arrival = Arrival(time.time(), request.headers.get("traceparent"))
        async with read_body(request, settings.max_upload_bytes, settings.body_timeout_seconds) as body:
            return await submission.submit(body, caller, x_strict, idempotency_key, arrival)

    return router
