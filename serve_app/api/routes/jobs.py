"""`GET /v1/jobs/{job_id}`."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query

from serve_app.api.errors import error_responses
from serve_app.api.responses import JobResponse
from serve_app.api.service import JobService
from serve_app.jobs.model import JobState

_UNFINISHED = (JobState.QUEUED, JobState.RUNNING)


def jobs_router(service: JobService) -> APIRouter:
    """Polling jobs."""
    router = APIRouter(tags=["jobs"])

    @router.get("/v1/jobs/{job_id}", responses=error_responses(404, 422))
    async def poll(
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
        """How a job goes, and its songs once it succeeded."""
        view = await service.view(job_id)
        if view is not None and wait and view.job.state in _UNFINISHED:
            view = await service.wait(job_id, view.job.state, view.job.stage, wait)
        if view is None:
            raise HTTPException(404, "Job not found")
        return JobResponse.of(view)

    return router
