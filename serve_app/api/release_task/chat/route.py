"""`/v1/chat/completions`: a job, and its songs in the answer."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, suppress
from contextvars import Context
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.types import Receive, Scope, Send

from serve_app.api.access.callers import Caller
from serve_app.api.access.capacity import ClientSlots
from serve_app.api.downloads import Downloads
from serve_app.api.errors import EXPECTED, RETRY_SECONDS, AsciiJSONResponse, problem_of
from serve_app.api.intake.body import CHAT, MAX_CHAT_BYTES, unsupported_type
from serve_app.api.intake.headers import IdempotencyKeyHeader, Strict
from serve_app.api.intake.submission import Arrival
from serve_app.api.readiness import KnownCondition
from serve_app.api.release_task.calls import CallReader
from serve_app.api.release_task.chat.answer import (
    DONE,
    Completion,
    codes_of,
    data_url,
    described,
    new_completion,
)
from serve_app.api.release_task.chat.request import CHAT_DEFAULTS, ChatRequest, chat_request
from serve_app.api.release_task.envelope import sentence
from serve_app.api.release_task.making import JobMaker
from serve_app.api.release_task.rows import CANCELLED_TASK, UNKNOWN_TASK
from serve_app.api.routes.server import MODEL_PREFIX
from serve_app.api.service import JobService, UnavailableError
from serve_app.api.streams import SlotResponse, unless_client_leaves
from serve_app.api.threads import WorkerPool
from serve_app.jobs.errors import JobEndedError
from serve_app.jobs.model import JobState, JobView
from serve_app.jobs.storing.store import StoreError
from serve_app.request.capabilities import Limits

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 600.0
"""Time that a song may take; then its job is cancelled."""
LONGEST_WAIT_SECONDS = 60.0
"""Time that the tracker waits for a change at once."""
SIGN_OF_LIFE_SECONDS = 2.0
"""Interval of the dots in a stream."""
AWAY = (StoreError, UnavailableError)
"""Errors of a tracker that cannot be reached, for example because it restarts."""
AWAY_SECONDS = 0.5
"""Time between two calls to a tracker that cannot be reached."""
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def chat_router(
    service: JobService,
    calls: CallReader,
    maker: JobMaker,
    downloads: Downloads,
    known_condition: KnownCondition,
    limits: Limits,
    pool: WorkerPool,
    slots: ClientSlots,
) -> APIRouter:
    """Chat completions.

    The job is cancelled when the client leaves, unless the request had an idempotency key: then the client
    can come back for it, and others may wait for it, too. `pool` parses large bodies. `slots` bound the chats
    that wait for their songs.
    """
    router = APIRouter()
    departures: set[asyncio.Task[Any]] = set()

    @router.post(CHAT)
    async def chat_completions(
        request: Request, x_strict: Strict = False, idempotency_key: IdempotencyKeyHeader = None
    ) -> Response:
        arrival = Arrival.of(request)

        async def admit(caller: Caller) -> None:
            await maker.admit(caller, idempotency_key)

        async with calls.read(request, admit, max_text_bytes=MAX_CHAT_BYTES) as call:
            if call.body.is_form:
                raise unsupported_type()
            condition = await known_condition()
            if condition.away:
                retry = {"Retry-After": f"{RETRY_SECONDS:g}"}
                raise HTTPException(503, f"Not ready: {', '.join(condition.away)}", retry)
            size = call.body.text_bytes
            asked = await pool.run_unless_short(size, chat_request, call.body.values, size)
            slots.check(call.caller.client.name)  # before the job is queued
            try:
                accepted = await maker.make(
                    call.with_body(asked.body),
                    arrival,
                    strict=x_strict,
                    idempotency_key=idempotency_key,
                    defaults=CHAT_DEFAULTS,
                )
            except RequestValidationError as error:
                raise _bad_audio(error) or error from error
            finally:
                for file in asked.body.files.values():
                    file.close()
        completion = new_completion(accepted.job_id, asked.model or f"{MODEL_PREFIX}{limits.dits[0].name}")
        watch = _Watch(service, completion.job_id, None if idempotency_key else departures)
        slot = slots.taken(call.caller.client.name)
        if asked.stream:
            return _JobResponse(
                _stream(completion, watch),
                slot,
                watch,
                media_type="text/event-stream",
                headers=STREAM_HEADERS,
            )
        async with watch:
            with slot:
                return await unless_client_leaves(request, _plain(completion, asked, watch))

    async def _plain(completion: Completion, asked: ChatRequest, watch: _Watch) -> Response:
        view = await watch.ended(PATIENCE_SECONDS)
        if view is None and watch.is_over:
            raise HTTPException(404, UNKNOWN_TASK)
        if view is None:
            fate = "it was cancelled" if watch.cancels else "ask again with the same Idempotency-Key"
            raise HTTPException(504, f"The song was not ready after {PATIENCE_SECONDS:g} s: {fate}")
        if view.result is None or view.state is not JobState.SUCCEEDED:
            raise HTTPException(500, view.error or CANCELLED_TASK)
        songs = [await _song(view, index) for index in range(len(view.files))]
        return AsciiJSONResponse(completion.plain(view.result, songs, asked.text))

    async def _stream(completion: Completion, watch: _Watch) -> AsyncGenerator[bytes, None]:
        try:
            async with watch:
                yield completion.chunk({"role": "assistant", "content": ""})
                deadline = time.monotonic() + PATIENCE_SECONDS
                while (view := await watch.ended(SIGN_OF_LIFE_SECONDS)) is None and not watch.is_over:
                    if time.monotonic() > deadline:
                        break
                    yield completion.chunk({"content": "."})
            if view is None or view.result is None or view.state is not JobState.SUCCEEDED:
                error = (view.error if view else "The song was not ready in time") or CANCELLED_TASK
                yield completion.failure(error)
            else:
                yield completion.chunk({"content": f"\n\n{described(view.result)}"})
                for index in range(len(view.files)):
                    yield completion.chunk({"audio": [await _song(view, index)]})
                if codes := codes_of(view.result):
                    yield completion.chunk({"content": f"\n\n[audio_codes]{codes}[/audio_codes]"})
                yield completion.chunk({}, "stop")
        except EXPECTED as error:  # too late for another status
            yield completion.failure(sentence(problem_of(error)))
        yield DONE

    async def _song(view: JobView, index: int) -> dict[str, Any]:
        result, content = await downloads.whole(view, index)
        return await asyncio.to_thread(data_url, content, result.media_type)

    return router


class _Watch:
    """Waits for the end of a job, and cancels the job where nobody waits for it any more."""

    def __init__(self, service: JobService, job_id: str, departures: set[asyncio.Task[Any]] | None) -> None:
        """`departures` keeps the tasks that cancel; None: the job is never cancelled."""
        self._service = service
        self._job_id = job_id
        self._departures = departures
        self.is_over = False
        """Whether the job has ended. Then it may also be unknown, because its record was deleted."""
        self._is_left = False

    async def __aenter__(self) -> "_Watch":
        return self

    @property
    def cancels(self) -> bool:
        """Whether the job is cancelled when nobody waits for it."""
        return self._departures is not None

    async def __aexit__(self, *_: object) -> None:
        if self.is_over or self._is_left or self._departures is None:
            return
        self._is_left = True
        # The context is empty because Serve cancels all calls that belong to a request whose client left.
        departure = asyncio.create_task(self._cancel(), context=Context())
        self._departures.add(departure)
        departure.add_done_callback(self._departures.discard)

    async def ended(self, seconds: float) -> JobView | None:
        """The job when it has ended; None where it has not within `seconds`, or is unknown.

        While the tracker cannot be reached, the job counts as not ended.
        """
        deadline = time.monotonic() + seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            try:
                view = await self._service.wait_change(self._job_id, None, min(left, LONGEST_WAIT_SECONDS))
            except AWAY:
                await asyncio.sleep(min(left, AWAY_SECONDS))
            else:
                if view is None or view.state.is_final:
                    break
            if time.monotonic() >= deadline:
                return None
        self.is_over = True
        return view

    async def _cancel(self) -> None:
        deadline = time.monotonic() + LONGEST_WAIT_SECONDS
        while time.monotonic() < deadline:
            try:
                with suppress(JobEndedError):
                    await self._service.cancel(self._job_id)
                return
            except AWAY:
                await asyncio.sleep(AWAY_SECONDS)
        logger.warning("job %s could not be cancelled after its client had left", self._job_id)


class _JobResponse(SlotResponse):
    """A stream about a job, which is cancelled also where the client has left before the first event."""

    def __init__(
        self,
        content: AsyncGenerator[bytes, None],
        slot: AbstractContextManager[None],
        watch: _Watch,
        **options: Any,
    ) -> None:
        super().__init__(content, slot, **options)
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._watch:
            await super().__call__(scope, receive, send)


def _bad_audio(error: RequestValidationError) -> HTTPException | None:
    """The refusal (400) of a recording that is no audio; None for other errors."""
    for item in error.errors():
        if item["type"] == "audio_file":
            return HTTPException(400, f"input_audio: {item['msg']}")
    return None
