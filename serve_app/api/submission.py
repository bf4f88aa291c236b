"""From a body to a job in line: parse → limit → hear the recordings → decide → store → submit."""

import asyncio
import uuid

from configs.settings import Settings
from serve_app.api.body import Body
from serve_app.api.errors import invalid
from serve_app.api.limits import Limits, apply_limits
from serve_app.api.parsing import parse_request, uploaded_files
from serve_app.api.recordings import OpenRecording, RecordingFinder
from serve_app.api.resolve import job_spec
from serve_app.api.responses import SubmitResponse
from serve_app.api.schemas import GenerateRequest
from serve_app.api.service import JobService
from serve_app.jobs.model import JobSpec, Recording
from serve_app.jobs.tracker import QueueFullError
from serve_app.planning import unconditional_text
from serve_app.storage import AudioStorage

PROMPT_OVERHEAD_TOKENS = 512
"""More than the LM's instruction, template and metadata take."""


class Submission:
    """Turns bodies into jobs. Of a refused request nothing is kept."""

    def __init__(
        self, service: JobService, storage: AudioStorage, settings: Settings, limits: Limits
    ) -> None:
        self._service = service
        self._storage = storage
        self._limits = limits
        self._finder = RecordingFinder(service, storage, settings.api.audio_roots, settings.api.max_duration)

    async def submit(self, body: Body, strict: bool) -> SubmitResponse:
        """Accept a job. Raises RequestValidationError or QueueFullError."""
        request = apply_limits(parse_request(body, self._limits, strict), self._limits)
        async with self._finder.open(request, uploaded_files(body)) as recordings:
            job_id = str(uuid.uuid4())
            source = self._recording(job_id, "source", recordings.source)
            reference = self._recording(job_id, "reference", recordings.reference)
            spec = job_spec(request, source, reference, self._limits)
            await self._check_prompt(request)
            await self._store(job_id, spec.source, recordings.source)
            await self._store(job_id, spec.reference, recordings.reference)
        return SubmitResponse(job_id=job_id, queue_position=await self._enter_line(job_id, spec))

    def _recording(self, job_id: str, name: str, opened: OpenRecording | None) -> Recording | None:
        if opened is None:
            return None
        return Recording(self._storage.recording_uri(job_id, name), opened.seconds)

    async def _store(self, job_id: str, wanted: Recording | None, opened: OpenRecording | None) -> None:
        """Copy a recording, so that the job's retries do not depend on the user's file."""
        if wanted is None or opened is None:
            return
        try:
            await asyncio.to_thread(self._storage.write, wanted.uri, opened.file)
        except BaseException:
            await asyncio.to_thread(self._storage.delete_job, job_id)
            raise

    async def _enter_line(self, job_id: str, spec: JobSpec) -> int:
        try:
            return await self._service.submit(job_id, spec)
        except QueueFullError:
            # After any other failure the job may be in line all the same: then it needs its recordings.
            await asyncio.to_thread(self._storage.delete_job, job_id)
            raise

    async def _check_prompt(self, request: GenerateRequest) -> None:
        """The LM's prompts and the codes of the longest song must fit its context (contract §1.2)."""
        context, codes = self._limits.max_model_len, self._limits.max_code_count
        texts = {"caption": request.caption, "lyrics": request.lyrics}
        # No token is shorter than a byte, so most requests need not be counted by the LM.
        sizes = [
            len(text.encode()) + PROMPT_OVERHEAD_TOKENS
            for text in ("".join(texts.values()), unconditional_text(request))
        ]
        if max(sizes) + codes <= context and sum(sizes) <= context:
            return
        if not await self._service.prompt_fits(request, codes):
            raise invalid(
                max(texts, key=lambda name: len(texts[name])),
                f"The text and the {codes} audio codes of the longest song do not fit the {context} tokens "
                "of the language model",
            )
