"""The jobs that a caller may see."""

from collections.abc import Sequence

from fastapi import HTTPException

from serve_app.api.access.audio_tokens import AudioTokens
from serve_app.api.access.callers import Caller
from serve_app.api.service import JobService
from serve_app.jobs.model import JobView
from serve_app.jobs.shown import JobResponse

JOB_NOT_FOUND = "Job not found"


class VisibleJobs:
    """Finds jobs and makes responses of them. Jobs of other clients are treated as unknown."""

    def __init__(self, service: JobService, tokens: AudioTokens | None) -> None:
        self._service = service
        self._tokens = tokens

    async def find(self, caller: Caller, job_id: str) -> JobView:
        """A job of the caller. Raises HTTPException with 404."""
        return self.visible(caller, await self._service.view(job_id))

    def visible(self, caller: Caller, view: JobView | None) -> JobView:
        """The view itself. Raises HTTPException with 404 where it is None or belongs to another client."""
        if view is None or not caller.may_see(view):
            raise HTTPException(404, JOB_NOT_FOUND)
        return view

    async def shown(self, view: JobView) -> JobResponse:
        """The response to a poll."""
        (response,) = await self.all_shown([view])
        return response

    async def all_shown(self, views: Sequence[JobView]) -> list[JobResponse]:
        sign = await self._tokens.signer() if self._tokens else str
        return [JobResponse.of(view, sign) for view in views]
