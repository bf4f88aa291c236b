"""Making of jobs from calls: translate → submit, with the errors that clients of this API expect."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fastapi.exceptions import RequestValidationError

from serve_app.api.access.callers import Caller
from serve_app.api.intake.submission import Arrival, Submission
from serve_app.api.release_task.calls import Call
from serve_app.api.release_task.loaded_adapters import CallersAdapters
from serve_app.api.release_task.mapping import (
    DEFAULTS,
    Mapped,
    RequestMapper,
    renewing_all,
    with_fitting_window,
)
from serve_app.api.release_task.shortening import shortened
from serve_app.api.responses import SubmitResponse
from serve_app.api.threads import WorkerPool
from serve_app.request.errors import TextsTooLongError, WindowTooLongError, invalid

MAX_REPAIRS = 4
"""Refusals that are mended, one after the other: texts, the start and the end of a window, and its length."""
NO_SUCH_AUDIO = "The server has no such audio for you: upload the file instead"


class JobMaker:
    """Makes jobs from calls of `/release_task` and of chat completions."""

    def __init__(
        self,
        submission: Submission,
        mapper: RequestMapper,
        pool: WorkerPool,
        loaded: CallersAdapters,
    ) -> None:
        """`pool` translates large bodies; `loaded` are the adapters that callers have chosen."""
        self._loaded = loaded
        self._submission = submission
        self._mapper = mapper
        self._pool = pool

    async def admit(self, caller: Caller, idempotency_key: str | None) -> None:
        """Refuse a call early where its job would be refused now. Raises DrainingError or LimitError."""
        await self._submission.admit(caller, idempotency_key)

    async def make(
        self,
        call: Call,
        arrival: Arrival,
        *,
        strict: bool = False,
        idempotency_key: str | None = None,
        defaults: Mapping[str, Any] = DEFAULTS,
    ) -> SubmitResponse:
        """Queue the job of a call.

        Raises RequestValidationError, DrainingError, LimitError or IdempotencyConflictError.
        """
        mapped = await self._pool.run_unless_short(
            call.body.text_bytes, self._mapper, call.body, strict, defaults
        )
        if not mapped.request.adapters and (uses := await self._loaded.uses(call.caller)):
            mapped = replace(mapped, request=mapped.request.model_copy(update={"adapters": uses}))
        for _ in range(0 if strict else MAX_REPAIRS):
            try:
                return await self._submit(mapped, call, arrival, idempotency_key)
            except RequestValidationError as error:
                mapped = await self._repaired(mapped, error)
        return await self._submit(mapped, call, arrival, idempotency_key)

    async def _repaired(self, mapped: Mapped, error: RequestValidationError) -> Mapped:
        """The request without what it was refused for, which only its source or the LM's tokens could tell.

        Raises the error where it has another cause.
        """
        if isinstance(error, WindowTooLongError):
            return with_fitting_window(mapped, error)
        if isinstance(error, TextsTooLongError):
            request, notes = await shortened(mapped.request, self._submission.prompt_fits)
            return replace(mapped, request=request, notes=(*mapped.notes, *notes))
        if {str(item["loc"][-1]) for item in error.errors()} == {"repainting_end"}:
            return renewing_all(mapped)  # without an end, the window begins behind the source
        raise error

    async def _submit(
        self, mapped: Mapped, call: Call, arrival: Arrival, idempotency_key: str | None
    ) -> SubmitResponse:
        try:
            accepted = await self._submission.submit_request(
                mapped.request,
                mapped.uploads,
                call.caller,
                idempotency_key,
                arrival,
                mapped.notes,
                text_bytes=call.body.text_bytes,
            )
            return SubmitResponse.of(accepted)
        except RequestValidationError as error:
            for item in error.errors():
                field = str(item["loc"][-1])
                if field.endswith("_path") and item["type"] == "value_error":
                    raise invalid(field, NO_SUCH_AUDIO) from error
            raise
