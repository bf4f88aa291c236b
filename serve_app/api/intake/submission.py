"""From a body to a queued job: parse → limit → admit → decode recordings → draft → store → submit."""

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO

from fastapi import Request

from configs.domain import code_count
from configs.settings import Settings
from deployments.common.job_log import log_event
from deployments.common.tracing import SpanRecorder
from serve_app.api import request_ids
from serve_app.api.access.callers import Caller
from serve_app.api.intake.body import Body
from serve_app.api.intake.parsing import parse_request, uploaded_files
from serve_app.api.intake.recordings import OpenRecordings, RecordingFinder
from serve_app.api.service import JobService
from serve_app.api.threads import WorkerPools
from serve_app.jobs.errors import DrainingError, IdempotencyConflictError, LimitError
from serve_app.jobs.model import Accepted, IdempotencyKey, NewJob
from serve_app.jobs.tracing import client_context, submit_context
from serve_app.recordings.decoder import DecodedRecording, RecordingDecoder
from serve_app.request.adapters import KnownAdapters
from serve_app.request.capabilities import Limits, apply_limits
from serve_app.request.errors import TextsTooLongError, invalid
from serve_app.request.planning import unconditional_text
from serve_app.request.resolve import job_draft
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec, Recording
from serve_app.request.workload import job_work
from serve_app.request.writing import PROMPT_OVERHEAD_TOKENS
from serve_app.storage import BLOCK_BYTES, AudioStorage


@dataclass(frozen=True)
class Arrival:
    """When a request came, and how it is named by others."""

    at: float
    """Epoch seconds."""
    traceparent: str | None
    """The header of this name."""
    request_id: str | None = None
    """`X-Request-ID`, which Serve's proxy gives to each request that brings none."""

    @classmethod
    def of(cls, request: Request) -> "Arrival":
        """The arrival of a request now."""
        request_id = request.headers.get(request_ids.HEADER, "")
        known = request_id if request_ids.is_usual(request_id) else None
        return cls(time.time(), request.headers.get("traceparent"), known)


class Submission:
    """Turns bodies into jobs. Nothing is kept of a refused request."""

    def __init__(
        self,
        service: JobService,
        storage: AudioStorage,
        settings: Settings,
        limits: Limits,
        spans: SpanRecorder,
        pools: WorkerPools,
        adapters: KnownAdapters,
    ) -> None:
        self._pools = pools
        self._adapters = adapters
        self._spans = spans
        self._tracing = settings.tracing
        self._service = service
        self._storage = storage
        self._limits = limits
        self._decoder = RecordingDecoder(settings.recordings)
        self._finder = RecordingFinder(
            service,
            storage,
            self._decoder,
            settings.api.audio_roots,
            settings.api.max_duration,
            pools,
        )

    def start(self) -> None:
        """Prepare for recordings, so that the first one does not wait. Raises OSError."""
        self._decoder.start()

    def close(self) -> None:
        """End all decoding."""
        self._decoder.close()

    async def admit(self, caller: Caller, idempotency_key: str | None) -> None:
        """Refuse a request early where its job would be refused now.

        Raises DrainingError or LimitError.
        """
        await self._service.admit(caller.client.name, idempotency_key)

    async def submit(
        self, body: Body, caller: Caller, strict: bool, idempotency_key: str | None, arrival: Arrival
    ) -> Accepted:
        """Accept the job of a body. Raises RequestValidationError, LimitError or IdempotencyConflictError."""
        parsed, uploads = await self._pools.bodies.run_unless_short(
            body.text_bytes, _parsed, body, self._limits, strict
        )
        return await self.submit_request(
            parsed, uploads, caller, idempotency_key, arrival, text_bytes=body.text_bytes
        )

    async def submit_request(
        self,
        parsed: GenerateRequest,
        uploads: Mapping[str, BinaryIO],
        caller: Caller,
        idempotency_key: str | None,
        arrival: Arrival,
        notes: tuple[str, ...] = (),
        *,
        text_bytes: int,
    ) -> Accepted:
        """Accept the job of a parsed request, of `text_bytes` bytes as it was sent.

        `notes` are sentences for its `status_message`. Raises RequestValidationError, LimitError or
        IdempotencyConflictError.
        """
        idempotency = None
        if idempotency_key is not None:
            fingerprint = await self._pools.recordings.run(_fingerprint, parsed, uploads)
            idempotency = IdempotencyKey(idempotency_key, fingerprint)
        new = await self.prepare(
            *(parsed, uploads, caller, idempotency, arrival, notes),
            text_bytes=text_bytes,
            admission_key=idempotency_key,
        )
        accepted = await self._enter_queue(new)
        self.tell(new, accepted, arrival)
        return accepted

    async def prepare(
        self,
        parsed: GenerateRequest,
        uploads: Mapping[str, BinaryIO],
        caller: Caller,
        idempotency: IdempotencyKey | None,
        arrival: Arrival,
        notes: tuple[str, ...] = (),
        *,
        text_bytes: int,
        admission_key: str | None,
    ) -> NewJob:
        """Make the job of a parsed request, and store its recordings; arguments as in `submit_request`.

        `admission_key` is the idempotency key of the job or of its batch: a repeated request is not refused,
        however long the queue is. Raises RequestValidationError, DrainingError or LimitError.
        """
        request = apply_limits(parsed, self._limits)
        if request.priority > caller.max_priority:
            raise invalid("priority", f"You may ask for priorities up to {caller.max_priority}")
        if request.adapters:
            dit = self._limits.dit(request).name
            await self._pools.recordings.run(self._adapters.check, request.adapters, dit)
        if request.src_audio_path or request.reference_audio_path:
            # For uploads it was called before they were received.
            await self.admit(caller, admission_key)
        async with self._finder.open(request, uploads, caller) as recordings:
            job_id = await self._service.new_job_id()
            source = self._recording(job_id, "source", recordings.source, recordings.source_codes)
            reference = self._recording(job_id, "reference", recordings.reference)
            draft = await self._pools.bodies.run_unless_short(
                text_bytes, job_draft, request, source, reference, self._limits
            )
            spec = _noting_damage(draft.spec, recordings)
            spec = replace(spec, notes=notes + spec.notes)
            await self.check_prompt(request)
            uploaded_bytes = await self._store(job_id, spec.source, recordings.source)
            uploaded_bytes += await self._store(job_id, spec.reference, recordings.reference)
        return NewJob(
            job_id=job_id,
            spec=spec,
            work=job_work(draft, self._limits),
            client=caller.client,
            priority=request.priority,
            uploaded_bytes=uploaded_bytes,
            idempotency=idempotency,
            traceparent=submit_context(job_id, self._tracing),
            request_id=arrival.request_id,
        )

    def _recording(
        self, job_id: str, name: str, opened: DecodedRecording | None, codes: tuple[int, ...] = ()
    ) -> Recording | None:
        if opened is None:
            return None
        known = codes if len(codes) == code_count(opened.seconds) else ()
        uri = self._storage.recording_uri(job_id, name)
        return Recording(uri, opened.seconds, codes=known, silent=opened.silent)

    async def _store(self, job_id: str, wanted: Recording | None, opened: DecodedRecording | None) -> int:
        """Store a recording, so that retries do not depend on the user's file. Returns its size in bytes."""
        if wanted is None or opened is None:
            return 0
        try:
            await self._pools.recordings.run(self._storage.write, wanted.uri, opened.file)
        except BaseException:
            await self._pools.storage.run(self._storage.delete_job, job_id)
            raise
        return opened.file.seek(0, os.SEEK_END)

    async def _enter_queue(self, new: NewJob) -> Accepted:
        try:
            accepted = await self._service.submit(new)
        except (DrainingError, LimitError, IdempotencyConflictError):
            # After any other failure the job may still have been queued, and then needs its recordings.
            await self.delete_recordings(new)
            raise
        if accepted.job_id != new.job_id:
            await self.delete_recordings(new)
        return accepted

    def tell(self, new: NewJob, accepted: Accepted, arrival: Arrival) -> None:
        """Log an accepted job, and record the span of its submit."""
        log_event("accepted", accepted.job_id, queue_position=accepted.queue_position)
        if accepted.job_id == new.job_id:  # otherwise its trace already has a submit span
            link = client_context(arrival.traceparent)
            named = {"acestep.request_id": new.request_id} if new.request_id else None
            self._spans.record("submit", new.traceparent, None, arrival.at, time.time(), named, link=link)

    async def delete_recordings(self, new: NewJob) -> None:
        """Delete the recordings of a job that was not accepted."""
        if new.uploaded_bytes:
            await self._pools.storage.run(self._storage.delete_job, new.job_id)

    async def check_prompt(self, request: GenerateRequest) -> None:
        """Raises TextsTooLongError where `prompt_fits` says no (contract §1.2)."""
        if not await self.prompt_fits(request):
            name = "lyrics" if len(request.lyrics) > len(request.caption) else "caption"
            message = (
                f"The text and the {self._limits.max_code_count} audio codes of the longest song do not fit "
                f"the {self._limits.max_model_len} tokens of the language model"
            )
            raise TextsTooLongError([{"loc": ("body", name), "msg": message, "type": "value_error"}])

    async def prompt_fits(self, request: GenerateRequest) -> bool:
        """Whether the LM's prompts and the codes of the longest song fit its context."""
        context, codes = self._limits.max_model_len, self._limits.max_code_count
        # A token has at least one byte, so the LM's tokenizer is needed only for long texts.
        sizes = [
            len(text.encode()) + PROMPT_OVERHEAD_TOKENS
            for text in (request.caption + request.lyrics, unconditional_text(request))
        ]
        fits = max(sizes) + codes <= context and sum(sizes) <= context
        return fits or await self._service.prompt_fits(request, codes)


def _parsed(body: Body, limits: Limits, strict: bool) -> tuple[GenerateRequest, dict[str, BinaryIO]]:
    return parse_request(body, limits, strict), uploaded_files(body)


def _noting_damage(spec: JobSpec, recordings: OpenRecordings) -> JobSpec:
    """The specification with a note for each recording that was decoded only in part."""
    used = (("source", spec.source, recordings.source), ("reference", spec.reference, recordings.reference))
    notes = tuple(
        f"The {name} audio is damaged or incomplete: {decoded.seconds:.1f} s of it could be read."
        for name, kept, decoded in used
        if kept and decoded and decoded.damaged
    )
    return replace(spec, notes=spec.notes + notes)


def _fingerprint(request: GenerateRequest, uploads: Mapping[str, BinaryIO]) -> str:
    """A digest of the request that is independent of content type, spelling and random choices.

    Fields with their default value are left out, so that a field of a later release changes no digest.
    """
    digest = hashlib.sha256(request.model_dump_json(exclude_defaults=True).encode())
    for name in sorted(uploads):
        file = uploads[name]
        digest.update(f"\n{name} {file.seek(0, os.SEEK_END)}\n".encode())
        file.seek(0)
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
