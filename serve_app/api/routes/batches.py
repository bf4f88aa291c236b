"""`POST /v1/music/batch` and `/v1/batches/{batch_id}`: many jobs at once."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from configs.settings import ApiSettings
from serve_app.api.access.callers import Caller, Callers
from serve_app.api.access.capacity import ClientSlots, Slots
from serve_app.api.errors import error_responses
from serve_app.api.intake.batches import BatchSubmission
from serve_app.api.intake.body import (
    JSON,
    MAX_BATCH_BYTES,
    MAX_BATCH_CONTAINERS,
    BodyReader,
    is_multipart,
)
from serve_app.api.intake.headers import IdempotencyKeyHeader, Strict
from serve_app.api.intake.openapi import request_schema
from serve_app.api.intake.submission import Arrival, Submission
from serve_app.api.quotas import quota_headers
from serve_app.api.responses import BatchSubmitResponse, SubmitResponse
from serve_app.api.service import JobService
from serve_app.jobs.batches import MAX_BATCH, BatchView
from serve_app.jobs.shown import BatchResponse
from serve_app.request.capabilities import Limits

BATCH_NOT_FOUND = "Batch not found"


def batches_router(
    service: JobService,
    submission: Submission,
    batches: BatchSubmission,
    callers: Callers,
    limits: Limits,
    settings: ApiSettings,
    bodies: BodyReader,
    slots: Slots,
) -> APIRouter:
    """Submitting, polling and cancelling batches."""
    router = APIRouter(tags=["batches"])
    submits = ClientSlots("batches", settings.client_uploads, slots)

    @router.post(
        "/v1/music/batch",
        responses=error_responses(400, 408, 409, 413, 415, 422, 429),
        openapi_extra={"requestBody": _request_body(limits)},
    )
    async def batch(
        request: Request,
        response: Response,
        caller: Annotated[Caller, Depends(callers)],
        x_strict: Strict = False,
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> BatchSubmitResponse:
        """Queue all jobs of a batch, or none."""
        if is_multipart(request):
            raise _not_json()
        arrival = Arrival.of(request)
        with submits.taken(caller.client.name):
            await submission.admit(caller, idempotency_key)
            async with bodies.read(
                request, max_text_bytes=MAX_BATCH_BYTES, max_containers=MAX_BATCH_CONTAINERS
            ) as body:
                if body.is_form:
                    raise _not_json()
                accepted = await batches.submit(body, caller, x_strict, idempotency_key, arrival)
        response.headers.update(quota_headers(accepted.quotas))
        return BatchSubmitResponse(
            batch_id=accepted.batch_id, jobs=[SubmitResponse.of(job) for job in accepted.jobs]
        )

    @router.get("/v1/batches/{batch_id}", responses=error_responses(404))
    async def poll(caller: Annotated[Caller, Depends(callers)], batch_id: str) -> BatchResponse:
        """The states of a batch's jobs."""
        return _shown(await service.batch(batch_id, _owner(caller)))

    @router.delete("/v1/batches/{batch_id}", responses=error_responses(404))
    async def cancel(caller: Annotated[Caller, Depends(callers)], batch_id: str) -> BatchResponse:
        """Cancel all jobs of a batch that wait or run. Repeating the call has no effect."""
        return _shown(await service.cancel_batch(batch_id, _owner(caller)))

    return router


def _owner(caller: Caller) -> str | None:
    return None if caller.sees_all else caller.client.name


def _shown(view: BatchView | None) -> BatchResponse:
    if view is None:
        raise HTTPException(404, BATCH_NOT_FOUND)
    return BatchResponse.of(view)


def _not_json() -> HTTPException:
    return HTTPException(415, f"A batch must be {JSON}, and its Content-Type must say so")


def _request_body(limits: Limits) -> dict[str, Any]:
    requests = {
        "type": "array",
        "items": request_schema(limits),
        "minItems": 1,
        "maxItems": MAX_BATCH,
        "description": "Requests as for `POST /v1/music/generate`, in the order in which they are queued.",
    }
    callback = {
        "type": "string",
        "format": "uri",
        "description": "An http(s) URL that receives the batch when all of its jobs have ended.",
    }
    schema = {
        "type": "object",
        "required": ["requests"],
        "properties": {"requests": requests, "callback_url": callback},
    }
    return {
        "description": "Recordings can be named, and not uploaded.",
        "required": True,
        "content": {JSON: {"schema": schema, "example": {"requests": [{"caption": "upbeat pop song"}]}}},
    }
