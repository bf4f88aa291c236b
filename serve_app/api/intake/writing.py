"""Songs that are written or rewritten at once, as text: from a body to the LM's answer."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from configs.domain import INSTRUMENTAL
from deployments.common.errors import JobError
from serve_app.api.intake.body import Body
from serve_app.api.intake.parsing import parse_request
from serve_app.api.intake.submission import Submission
from serve_app.api.responses import WrittenSongResponse
from serve_app.api.service import JobService
from serve_app.request.capabilities import Limits, apply_limits
from serve_app.request.errors import invalid
from serve_app.request.fields import Flag
from serve_app.request.planning import words_for_dit
from serve_app.request.resolve import job_draft
from serve_app.request.schemas import GenerateRequest, Output

_FLAG = TypeAdapter(Flag)
_SAMPLE = {"sample_mode": True, "use_format": False, "use_cot_caption": False}
_FORMAT = {"sample_mode": False, "sample_query": "", "use_format": True, "use_cot_caption": False}


def sample_request(body: Body, limits: Limits, strict: bool) -> GenerateRequest:
    """The request for a song from `query`; `instrumental` asks for one without lyrics.

    Raises RequestValidationError.
    """
    values = dict(body.values)
    own = {name: values.pop(name, None) for name in ("query", "instrumental")}
    if body.is_form:
        own = {name: value[-1] if isinstance(value, list) else value for name, value in own.items()}
    if own["query"] not in (None, ""):
        values["sample_query"] = own["query"]
    if _is_true("instrumental", own["instrumental"]):
        values["lyrics"] = INSTRUMENTAL
    try:
        return _text_request(replace(body, values=values), limits, strict, _SAMPLE)
    except RequestValidationError as error:
        raise RequestValidationError([_renamed(each) for each in error.errors()]) from error


def format_request(body: Body, limits: Limits, strict: bool) -> GenerateRequest:
    """The request for better words. Raises RequestValidationError."""
    return _text_request(body, limits, strict, _FORMAT)


def _text_request(body: Body, limits: Limits, strict: bool, switches: Mapping[str, Any]) -> GenerateRequest:
    """A request for one song without recordings and codes, of which only the plan is made."""
    asked = parse_request(body, limits, strict)
    fixed: dict[str, Any] = {
        "output": Output.METADATA,
        "audio_code_string": "",
        "thinking": False,
        "use_cot_language": True,
    }
    given = {name: getattr(asked, name) for name in asked.model_fields_set}
    return apply_limits(GenerateRequest.model_validate({**given, **fixed, **switches}), limits)


def _is_true(field: str, value: Any) -> bool:
    if value in (None, ""):
        return False
    try:
        return _FLAG.validate_python(value)
    except ValidationError as error:
        raise invalid(field, error.errors()[0]["msg"], "bool_parsing") from error


def _renamed(error: dict[str, Any]) -> dict[str, Any]:
    """An error about the query, under the name that it has on this route."""
    return {**error, "loc": ("body", "query")} if error["loc"] == ("body", "sample_query") else error


class Writing:
    """Lets the LM write or rewrite a song while the client waits."""

    def __init__(self, service: JobService, submission: Submission, limits: Limits) -> None:
        self._service = service
        self._submission = submission
        self._limits = limits

    async def write(self, request: GenerateRequest) -> WrittenSongResponse:
        """The song that a request describes, after `apply_limits`.

        Raises RequestValidationError if the texts are too long for the LM.
        """
        await self._submission.check_prompt(request)
        draft = job_draft(request, None, None, self._limits)
        try:
            song = await self._service.plan(draft)
        except JobError as error:
            raise invalid("lyrics", str(error)) from error
        words = words_for_dit(request, song)
        return WrittenSongResponse(
            caption=words.caption,
            lyrics=words.lyrics,
            vocal_language=words.language,
            bpm=song.metadata.bpm,
            key_scale=song.metadata.key_scale,
            time_signature=song.metadata.time_signature,
            audio_duration=song.durations[0],
            genres=song.metadata.genres,
            lm_model=request.lm_model_path if song.lm_answered else None,
            notes=list(song.notes),
        )
