"""`GET /v1/jobs/{job_id}/events`: the changes of a job as Server-Sent Events."""

from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.sse import format_sse_event
from starlette.responses import Response, StreamingResponse

from configs.settings import ApiSettings
from serve_app.api.access.callers import Caller, Callers
from serve_app.api.access.capacity import ClientSlots, Slots
from serve_app.api.errors import error_responses
from serve_app.api.jobs import VisibleJobs
from serve_app.api.service import JobService
from serve_app.api.silence import COMMENT, SILENCE_SECONDS, needs_comments
from serve_app.api.streams import SlotResponse
from serve_app.jobs.model import JobState, JobView

_EVENT = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string"},
        "event": {"type": "string", "enum": list(JobState)},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/JobResponse"},
        },
    },
}


def events_router(
    service: JobService, callers: Callers, jobs: VisibleJobs, settings: ApiSettings, slots: Slots
) -> APIRouter:
    """The event stream of a job."""
    router = APIRouter(tags=["jobs"])
    streams = ClientSlots("event streams", settings.client_requests, slots)

    @router.get(
        "/v1/jobs/{job_id}/events",
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "One event per change: `id` (for `Last-Event-ID`), `event` (the status) and "
                "`data` (the job, as in a poll). The last one shows how the job ended.",
                "content": {"text/event-stream": {"schema": _EVENT}},
            },
            204: {"description": "The job has ended, and `Last-Event-ID` shows that the client knows it."},
            **error_responses(404, 429),
        },
    )
    async def events(
        request: Request,
        caller: Annotated[Caller, Depends(callers)],
        job_id: str,
        last_event_id: Annotated[
            str | None, Header(description="`id` of the last received event; it is not sent again.")
        ] = None,
    ) -> Response:
        """Every change of position, stage and progress, then the final state."""
        view = await jobs.find(caller, job_id)
        if view.state.is_final and view.version == last_event_id:
            return Response(status_code=204)  # makes a browser's EventSource stop
        return SlotResponse(
            _events(
                service,
                jobs,
                view,
                last_event_id,
                may_go_on=lambda: callers.still_know(request),
                with_comments=needs_comments(request.scope),
            ),
            streams.taken(caller.client.name),
            media_type="text/event-stream",
            # Reverse proxies (nginx) must not buffer the events.
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return router


async def _events(
    service: JobService,
    jobs: VisibleJobs,
    view: JobView,
    known_version: str | None,
    may_go_on: Callable[[], bool],
    with_comments: bool,
) -> AsyncGenerator[bytes, None]:
    current: JobView | None = view
    while current is not None and may_go_on():
        if current.version == known_version:
            if with_comments:
                yield COMMENT
        else:
            data = (await jobs.shown(current)).model_dump_json()
            yield format_sse_event(id=current.version, event=current.state, data_str=data)
            known_version = current.version
        if current.state.is_final:
            return
        with suppress(TimeoutError):  # no news
            current = await service.wait(current.job_id, known_version, SILENCE_SECONDS)
