"""Submits that wait for the result of their job (`Prefer: wait=N`).

A submit that waits holds one of its client's long polls, and asks the tracker one question, as a long poll
does.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from fastapi import Request, Response

from serve_app.api.access.callers import Caller, Callers
from serve_app.api.access.capacity import ClientSlots
from serve_app.api.intake.preferences import preferred_wait
from serve_app.api.jobs import VisibleJobs
from serve_app.api.quotas import quota_headers
from serve_app.api.responses import SubmitResponse
from serve_app.api.service import JobService, UnavailableError
from serve_app.api.streams import unless_client_leaves
from serve_app.jobs.model import Accepted
from serve_app.jobs.shown import JobResponse
from serve_app.jobs.storing.store import StoreError

APPLIED = "Preference-Applied"
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The accepted job; where `Prefer: wait=N` was applied, a poll of it.",
        "headers": {
            APPLIED: {
                "description": "`wait=N`: the answer is a poll; N are the seconds that it might wait.",
                "schema": {"type": "string"},
            }
        },
    }
}
"""The successful answer of submits in OpenAPI."""


class WaitingSubmits:
    """Turns the answer to a submit into a poll of its job, where the client prefers that."""

    def __init__(
        self, service: JobService, callers: Callers, jobs: VisibleJobs, long_polls: ClientSlots
    ) -> None:
        self._service = service
        self._callers = callers
        self._jobs = jobs
        self._long_polls = long_polls

    def slot(self, prefer: Iterable[str] | None, caller: Caller) -> AbstractContextManager[None]:
        """Hold a long poll while the request lasts; a request that does not wait needs none.

        It is taken before the job is accepted, so that nothing is refused afterwards. Raises CapacityError.
        """
        if preferred_wait(prefer) is None:
            return nullcontext()
        return self._long_polls.taken(caller.client.name)

    async def answer(
        self,
        request: Request,
        response: Response,
        caller: Caller,
        prefer: Iterable[str] | None,
        accepted: Accepted,
    ) -> SubmitResponse | JobResponse:
        """Return the answer to a submit: with a wait, the job when it has ended, or when the wait is over.

        The job is accepted, so the client must learn its id: where the job cannot be read, the answer is the
        ordinary one. Raises HTTPException with 401 if the key was removed meanwhile, and ClientDisconnect.
        """
        response.headers.update(quota_headers(accepted.quotas))
        answer = SubmitResponse.of(accepted)
        seconds = preferred_wait(prefer)
        if seconds is None:
            return answer
        try:
            ending = self._service.wait_end(accepted.job_id, float(seconds))
            view = await unless_client_leaves(request, ending)
            if view is None or not caller.may_see(view):
                return answer
            shown = await self._jobs.shown(view)
        except (StoreError, UnavailableError):
            return answer
        self._callers.identify(request)
        response.headers[APPLIED] = f"wait={seconds}"
        return shown
