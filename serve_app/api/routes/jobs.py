"""`/v1/jobs` and `/v1/jobs/{job_id}`: polling, listing, cancelling."""

import base64
import re
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError

from serve_app.api.access.callers import Caller, Callers
from serve_app.api.access.capacity import ClientSlots
from serve_app.api.errors import error_responses
from serve_app.api.jobs import JOB_NOT_FOUND, VisibleJobs
from serve_app.api.responses import JobsResponse, PurgeResponse
from serve_app.api.service import JobService
from serve_app.api.streams import unless_client_leaves
from serve_app.jobs.model import JobState
from serve_app.jobs.shown import JobResponse

NEWEST = 2**63 - 1
"""Greater than the sequence number of every job."""
MAX_PAGE = 100


def jobs_router(
    service: JobService, callers: Callers, jobs: VisibleJobs, long_polls: ClientSlots
) -> APIRouter:
    """Polling, listing and cancelling jobs. `long_polls` are shared with submits that wait."""
    router = APIRouter(tags=["jobs"])

    @router.get("/v1/jobs", responses=error_responses(422))
    async def listing(
        caller: Annotated[Caller, Depends(callers)],
        status: Annotated[JobState | None, Query(description="Only jobs with this status.")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Jobs of one page.")] = 20,
        cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
    ) -> JobsResponse:
        """The caller's jobs, newest first. Without API keys a caller is a network address."""
        before = NEWEST if cursor is None else _sequence(cursor)
        views = await service.page(caller.client.name, status, before, limit + 1)
        page = views[:limit]
        return JobsResponse(
            jobs=await jobs.all_shown(page),
            next_cursor=_cursor(page[-1].sequence) if len(views) > limit else None,
        )

    @router.get("/v1/jobs/{job_id}", responses=error_responses(404, 422, 429))
    async def poll(
        request: Request,
        job_id: str,
        wait: Annotated[
            float,
            Query(
                ge=0,
                le=60,
                allow_inf_nan=False,
                description="Seconds to wait for a change of status or stage before answering.",
            ),
        ] = 0.0,
    ) -> JobResponse:
        """Status and progress of a job, and its songs once it has succeeded."""
        # Not a dependency: FastAPI would look for parameters of its own, which polls need not pay for.
        caller = callers.identify(request)
        if not wait:
            return await jobs.shown(await jobs.find(caller, job_id))
        with long_polls.taken(caller.client.name):
            owner = None if caller.sees_all else caller.client.name
            change = service.wait_change(job_id, owner, wait)
            view = jobs.visible(caller, await unless_client_leaves(request, change))
        callers.identify(request)  # the key may have been removed meanwhile
        return await jobs.shown(view)

    @router.delete("/v1/jobs/{job_id}", responses=error_responses(404, 409, 422))
    async def cancel(
        caller: Annotated[Caller, Depends(callers)],
        job_id: str,
        purge: Annotated[
            bool, Query(description="true: also delete all of the job, in any state; then it is unknown.")
        ] = False,
    ) -> JobResponse | PurgeResponse:
        """Cancel a waiting or running job, or purge any job. Repeating the call has no effect."""
        if purge:
            owner = None if caller.sees_all else caller.client.name
            complete = await service.purge_job(job_id, owner)
            if complete is None:
                raise HTTPException(404, JOB_NOT_FOUND)
            return PurgeResponse(job_id=job_id, complete=complete)
        await jobs.find(caller, job_id)
        return await jobs.shown(jobs.visible(caller, await service.cancel(job_id)))

    return router


def _cursor(sequence: int) -> str:
    return base64.urlsafe_b64encode(f"before {sequence}".encode()).rstrip(b"=").decode()


def _sequence(cursor: str) -> int:
    """The sequence number in a cursor. Raises RequestValidationError for an invalid cursor."""
    if re.fullmatch("[A-Za-z0-9_-]{1,64}", cursor):
        try:
            text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        except ValueError:
            text = ""
        match = re.fullmatch("before ([0-9]{1,18})", text)
        if match:
            return int(match[1])
    message = "Input should be next_cursor of an earlier answer"
    raise RequestValidationError([{"loc": ("query", "cursor"), "msg": message, "type": "value_error"}])
