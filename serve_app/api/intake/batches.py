"""From the body of a batch to its jobs: each request is read as if it came alone, and all enter together."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from configs.settings import Settings
from serve_app.api.access.callers import Caller
from serve_app.api.errors import unknown_fields
from serve_app.api.intake.body import Body
from serve_app.api.intake.parsing import parse_request
from serve_app.api.intake.submission import Arrival, Submission
from serve_app.api.service import JobService
from serve_app.api.threads import WorkerPool
from serve_app.jobs.batches import MAX_BATCH, BatchAccepted
from serve_app.jobs.errors import DrainingError, IdempotencyConflictError, LimitError
from serve_app.jobs.model import IdempotencyKey, NewJob
from serve_app.request.capabilities import Limits, check_callback
from serve_app.request.errors import invalid
from serve_app.request.fields import CallbackUrl
from serve_app.request.schemas import GenerateRequest

MAX_RECORDINGS = 64
"""Requests of a batch that may name recordings, because each is decoded while the client waits."""
_FIELDS = ("requests", "callback_url", "callbackUrl")
_CALLBACK = TypeAdapter(CallbackUrl | None)


class BatchSubmission:
    """Submits batches."""

    def __init__(
        self,
        service: JobService,
        submission: Submission,
        settings: Settings,
        limits: Limits,
        pool: WorkerPool,
    ) -> None:
        """`pool` parses the requests."""
        self._service = service
        self._submission = submission
        self._limits = limits
        self._pool = pool
        self._largest = min(MAX_BATCH, settings.jobs.queue_limit, settings.jobs.client_jobs)

    async def submit(
        self, body: Body, caller: Caller, strict: bool, idempotency_key: str | None, arrival: Arrival
    ) -> BatchAccepted:
        """Accept all jobs of a body, or none.

        Raises RequestValidationError, DrainingError, LimitError, NoRoomError or IdempotencyConflictError.
        """
        requests = self._requests(body, strict)
        callback_url = self._callback_url(body.values)
        parsed = await self._pool.run_unless_short(body.text_bytes, self._parsed, requests, strict)
        recordings = sum(bool(one.src_audio_path or one.reference_audio_path) for one in parsed)
        if recordings > MAX_RECORDINGS:
            raise invalid("requests", f"At most {MAX_RECORDINGS} requests of a batch may name recordings")
        idempotency = None
        if idempotency_key is not None:
            idempotency = IdempotencyKey(idempotency_key, _fingerprint(parsed, callback_url))
        news: list[NewJob] = []
        try:
            for index, request in enumerate(parsed):
                with _placed(index):
                    new = await self._submission.prepare(
                        request,
                        {},
                        caller,
                        idempotency if index == 0 else None,
                        arrival,
                        text_bytes=body.text_bytes // len(parsed),
                        admission_key=idempotency_key,
                    )
                news.append(new)
            accepted = await self._service.submit_batch(tuple(news), callback_url)
        except (RequestValidationError, DrainingError, LimitError, IdempotencyConflictError):
            # After any other failure the jobs may still have been queued, and then need their recordings.
            await self._delete_recordings(news, set())
            raise
        await self._delete_recordings(news, {job.job_id for job in accepted.jobs})
        for new, job in zip(news, accepted.jobs, strict=False):
            self._submission.tell(new, job, arrival)
        return accepted

    async def _delete_recordings(self, news: list[NewJob], but: set[str]) -> None:
        for new in news:
            if new.job_id not in but:
                await self._submission.delete_recordings(new)

    def _requests(self, body: Body, strict: bool) -> list[dict[str, Any]]:
        if strict and (refusal := unknown_fields((name,) for name in body.values if name not in _FIELDS)):
            raise refusal
        requests = body.values.get("requests")
        if not isinstance(requests, list) or not requests:
            raise invalid("requests", "Input should be an array of requests", "list_type")
        if len(requests) > self._largest:
            message = (
                f"Input should have at most {self._largest:,} requests, the jobs that one client may have"
            )
            raise invalid("requests", message, "too_long")
        for index, request in enumerate(requests):
            if not isinstance(request, dict):
                with _placed(index):
                    raise RequestValidationError(
                        [{"loc": ("body",), "msg": "Input should be an object", "type": "dict_type"}]
                    )
        return requests

    def _callback_url(self, values: Mapping[str, Any]) -> str | None:
        given = next((values[name] for name in _FIELDS[1:] if values.get(name) not in (None, "")), None)
        try:
            url = _CALLBACK.validate_python(given)
        except ValidationError as error:
            first = error.errors()[0]
            raise invalid("callback_url", first["msg"], first["type"]) from error
        check_callback(url, self._limits)
        return url

    def _parsed(self, requests: list[dict[str, Any]], strict: bool) -> list[GenerateRequest]:
        parsed = []
        for index, values in enumerate(requests):
            with _placed(index):
                parsed.append(parse_request(Body(values), self._limits, strict))
        return parsed


@contextmanager
def _placed(index: int) -> Iterator[None]:
    """Give validation errors of a request its place in the batch: body, requests, index, field."""
    try:
        yield
    except RequestValidationError as error:
        raise RequestValidationError(
            [{**one, "loc": ("body", "requests", index, *one["loc"][1:])} for one in error.errors()]
        ) from error


def _fingerprint(requests: list[GenerateRequest], callback_url: str | None) -> str:
    """A digest of a batch that is independent of spelling and random choices."""
    digest = hashlib.sha256(f"batch {callback_url}".encode())
    for request in requests:
        digest.update(b"\n" + request.model_dump_json(exclude_defaults=True).encode())
    return digest.hexdigest()
