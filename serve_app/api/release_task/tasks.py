"""`/release_task`, `/query_result`, and the routes that end a task: `/cancel_task` and `/cleanup/{id}`."""

import asyncio
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from serve_app.api.access.audio_tokens import AudioTokens
from serve_app.api.access.callers import Caller
from serve_app.api.intake.body import bounded_json, is_of_known_type, unsupported_type
from serve_app.api.intake.headers import IdempotencyKeyHeader, Strict
from serve_app.api.intake.submission import Arrival
from serve_app.api.release_task.calls import Call, CallReader
from serve_app.api.release_task.envelope import answer
from serve_app.api.release_task.making import JobMaker
from serve_app.api.release_task.rows import UNKNOWN_TASK, job_row, unknown_row
from serve_app.api.service import JobService
from serve_app.jobs.model import JobView
from serve_app.request.errors import invalid

MAX_IDS = 1_000
"""Ids of one `/query_result`."""
VIEWS_AT_ONCE = 100
"""Jobs that the tracker is asked for at the same time."""


def tasks_router(
    service: JobService, calls: CallReader, maker: JobMaker, tokens: AudioTokens | None
) -> APIRouter:
    """Submitting, polling and cancelling tasks. A task is a job, and its id is the job's."""
    router = APIRouter()

    @router.post("/release_task")
    async def release_task(
        request: Request, x_strict: Strict = False, idempotency_key: IdempotencyKeyHeader = None
    ) -> Response:
        arrival = Arrival.of(request)

        async def admit(caller: Caller) -> None:
            await maker.admit(caller, idempotency_key)

        async with calls.read(request, admit) as call:
            if not call.body.text_bytes and not is_of_known_type(request):
                raise unsupported_type()
            accepted = await maker.make(call, arrival, strict=x_strict, idempotency_key=idempotency_key)
        return answer(
            {
                "task_id": accepted.job_id,
                "status": accepted.status,
                "queue_position": max(1, accepted.queue_position),
            }
        )

    @router.post("/query_result")
    async def query_result(request: Request) -> Response:
        async with calls.read(request) as call:
            ids = list(_task_ids(call))
        views = await _views(service, ids)
        sign = await tokens.issuer() if tokens else None
        rows = []
        for task_id in ids:
            view = views[task_id]
            known = view is not None and call.caller.may_see(view)
            rows.append(job_row(view, sign) if view is not None and known else unknown_row(task_id))
        return answer(rows)

    @router.post("/cancel_task")
    async def cancel_task(request: Request) -> Response:
        async with calls.read(request) as call:
            (task_id,) = (*_task_ids(call), "")[:1]
        view = await service.view(task_id)
        if view is None or not call.caller.may_see(view):
            raise HTTPException(404, UNKNOWN_TASK)
        await service.cancel(task_id)
        return answer({"task_id": task_id, "status": "cancelled"})

    @router.post("/cleanup/{task_id}")
    async def cleanup(request: Request, task_id: str) -> Response:
        """Nothing: songs are deleted when their retention ends."""
        async with calls.read(request):
            return answer({"task_id": task_id})

    return router


async def _views(service: JobService, ids: list[str]) -> dict[str, JobView | None]:
    """The views of jobs by id. Raises StoreError or UnavailableError."""
    places = asyncio.Semaphore(VIEWS_AT_ONCE)

    async def view(task_id: str) -> JobView | None:
        async with places:
            return await service.view(task_id)

    unique = list(dict.fromkeys(ids))
    return dict(zip(unique, await asyncio.gather(*map(view, unique)), strict=True))


def _task_ids(call: Call) -> Iterator[str]:
    """The ids in any of the forms that clients send: an array, JSON text of one, commas, or a bare id.

    An empty or null entry of an array is the empty id, which no job has.
    Raises RequestValidationError.
    """
    for name in ("task_id_list", "taskIdList", "task_ids", "taskIds", "task_id", "taskId"):
        given = call.body.values.get(name)
        if given is not None and given != "":
            break
    else:
        return
    ids = list(_listed(given))
    if len(ids) > MAX_IDS:
        raise invalid(name, f"Input should have at most {MAX_IDS:,} ids")
    for one in ids:
        if one is None:
            yield ""
            continue
        if isinstance(one, bool) or not isinstance(one, str | int):
            raise invalid(name, "Input should be an array of ids, also as JSON text or separated by commas")
        yield str(one)


def _listed(given: Any) -> Iterator[Any]:
    if isinstance(given, list):
        for entry in given:
            yield from (list(_listed(entry)) or [""]) if isinstance(entry, str) else [entry]
    elif isinstance(given, str) and given.lstrip().startswith(("[", '"')):
        try:
            parsed = bounded_json(given)
        except (ValueError, RecursionError):
            parsed = given.strip(' []"')
        yield from parsed if isinstance(parsed, list) else [parsed]
    elif isinstance(given, str):
        yield from filter(None, (one.strip() for one in given.split(",")))
    else:
        yield given
