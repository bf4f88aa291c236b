"""`POST /v1/music/generate`."""

from typing import Annotated

from fastapi import APIRouter, Header, Request

from serve_app.api.body import read_body
from serve_app.api.errors import error_responses
from serve_app.api.limits import Limits
from serve_app.api.openapi import request_body
from serve_app.api.responses import SubmitResponse
from serve_app.api.submission import Submission


def generate_router(submission: Submission, limits: Limits, max_upload_bytes: int) -> APIRouter:
    """Submitting jobs."""
    router = APIRouter(tags=["jobs"])

    @router.post(
        "/v1/music/generate",
        responses=error_responses(400, 413, 415, 422, 429),
        openapi_extra={"requestBody": request_body(limits)},
    )
    async def generate(
        request: Request,
        x_strict: Annotated[
            bool, Header(description="1 refuses unknown fields instead of ignoring them.")
        ] = False,
    ) -> SubmitResponse:
        """Put a song in line; `GET /v1/jobs/{job_id}` tells how it goes."""
        async with read_body(request, max_upload_bytes) as body:
            return await submission.submit(body, strict=x_strict)

    return router
