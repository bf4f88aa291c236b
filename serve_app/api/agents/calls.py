"""Calls of tools: from arguments to a job, and from a job to the answer. It knows nothing of the protocol."""

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from deployments.common.audio_formats import FORMATS
from serve_app.api.access.callers import Caller, Callers
from serve_app.api.agents import tools
from serve_app.api.errors import EXPECTED, problem_of
from serve_app.api.intake.body import Body
from serve_app.api.intake.recordings import RESULT_PATH
from serve_app.api.intake.submission import Arrival, Submission
from serve_app.api.jobs import VisibleJobs
from serve_app.api.prefix import PREFIX_KEY
from serve_app.api.results import result_file, song_codes
from serve_app.api.service import JobService
from serve_app.jobs.model import JobState, JobView
from serve_app.jobs.shown import JobResponse
from serve_app.request.capabilities import Limits
from serve_app.request.errors import invalid, invalid_fields

CALLER = "acestep.caller"
"""The key of the ASGI scope under which the endpoint leaves the caller."""
SILENCE_SECONDS = 15.0
"""How long one wait for news lasts. After it the key is checked again."""
CODES_PER_SECOND = 5

_Model = TypeVar("_Model", bound=BaseModel)

Tell = Callable[[float, str], Awaitable[None]]
"""Tells the agent how much of a job is done, from 0 to 1, and a text about it."""


@dataclass(frozen=True)
class SongLink:
    """A song in an answer."""

    name: str
    url: str
    media_type: str


@dataclass(frozen=True)
class ToolAnswer:
    """The answer to a call."""

    text: str
    """Sentences for the model that has called."""
    is_error: bool = False
    facts: dict[str, Any] | None = None
    """The same as JSON; None for an error before there was a job."""
    songs: tuple[SongLink, ...] = ()


class Calls:
    """Runs the tools over the same jobs, with the same checks, as the rest of the API."""

    def __init__(
        self,
        service: JobService,
        submission: Submission,
        callers: Callers,
        jobs: VisibleJobs,
        limits: Limits,
    ) -> None:
        self.limits = limits
        self._service = service
        self._submission = submission
        self._callers = callers
        self._jobs = jobs

    async def call(self, name: str, arguments: Mapping[str, Any], request: Request, tell: Tell) -> ToolAnswer:
        """The answer of the tool `name`, also where something is wrong with the arguments.

        Raises KeyError where there is no such tool.
        """
        caller: Caller = request.scope[CALLER]
        tool = tools.MAKING_TOOLS.get(name)
        try:
            if tool is not None:
                return await self._make(tool, arguments, caller, request, tell)
            if name == tools.FOLLOW:
                return await self._follow_job(arguments, caller, request, tell)
            if name == tools.CANCEL:
                return await self._cancel_job(arguments, caller, request)
        except EXPECTED as error:
            return _refused(error, tool)
        raise KeyError(name)

    async def _make(
        self,
        tool: tools.MakingTool,
        arguments: Mapping[str, Any],
        caller: Caller,
        request: Request,
        tell: Tell,
    ) -> ToolAnswer:
        arrival = Arrival(time.time(), request.headers.get("traceparent"))
        own = _checked(tool.arguments, arguments)
        values = tool.values(arguments)
        if isinstance(own, tools.Extension):
            values |= await self._extended(own, caller)
        body = Body(values, text_bytes=len(json.dumps(arguments)))
        accepted = await self._submission.submit(body, caller, True, None, arrival)
        return await self._followed(accepted.job_id, own.wait_seconds, caller, request, tell)

    async def _extended(self, wanted: tools.Extension, caller: Caller) -> dict[str, Any]:
        """The fields of a request that puts new music before or after a song."""
        if wanted.at == "start":
            return {"src_audio_path": wanted.song, "repainting_start": -wanted.seconds}
        match = RESULT_PATH.fullmatch(wanted.song)
        view = await self._service.view(match[1]) if match else None
        if (
            match is None
            or view is None
            or not caller.may_see(view)
            or not result_file(view, match[2], match[3])
        ):
            raise invalid("song", "This server has no such song")
        end = _seconds(view, match[2])
        return {
            "src_audio_path": wanted.song,
            "repainting_start": end,
            "repainting_end": end + wanted.seconds,
        }

    async def _follow_job(
        self, arguments: Mapping[str, Any], caller: Caller, request: Request, tell: Tell
    ) -> ToolAnswer:
        asked = _checked(tools.Following, arguments)
        return await self._followed(asked.job_id, asked.wait_seconds, caller, request, tell)

    async def _cancel_job(self, arguments: Mapping[str, Any], caller: Caller, request: Request) -> ToolAnswer:
        job_id = _checked(tools.Cancelling, arguments).job_id
        await self._jobs.find(caller, job_id)
        view = self._jobs.visible(caller, await self._service.cancel(job_id))
        return await self._answer(view, request, cancelling=True)

    async def _followed(
        self, job_id: str, wait_seconds: float, caller: Caller, request: Request, tell: Tell
    ) -> ToolAnswer:
        """Tell each change of a job, and answer when it has ended or the time is over."""
        deadline = time.monotonic() + wait_seconds
        view = await self._jobs.find(caller, job_id)
        while not view.state.is_final and (left := deadline - time.monotonic()) > 0:
            await tell(view.progress, _standing(view))
            try:
                news = await self._service.wait(job_id, view.version, min(left, SILENCE_SECONDS))
            except TimeoutError:
                news = view
            self._callers.identify(request)  # the key may have been removed meanwhile
            view = self._jobs.visible(caller, news)
        return await self._answer(view, request)

    async def _answer(self, view: JobView, request: Request, cancelling: bool = False) -> ToolAnswer:
        job = await self._jobs.shown(view)
        songs = () if job.result is None else tuple(job.result.audio_paths)
        media_type = FORMATS[view.audio_format].media_type
        links = tuple(
            SongLink(f"Song {number} of job {job.job_id}", _public(request, path), media_type)
            for number, path in enumerate(songs)
        )
        failed = view.state is JobState.FAILED or (view.state is JobState.CANCELLED and not cancelling)
        return ToolAnswer(_told(view, job), failed, _facts(job), links)


def _checked(model: type[_Model], arguments: Mapping[str, Any]) -> _Model:
    """The arguments as `model` has them. Raises RequestValidationError."""
    try:
        return model.model_validate(arguments)
    except ValidationError as error:
        raise invalid_fields(error, {}) from error


def _refused(error: Exception, tool: tools.MakingTool | None) -> ToolAnswer:
    """An error as sentences, each with the argument that it is about."""
    detail = problem_of(error).detail
    if isinstance(detail, str):
        return ToolAnswer(f"{detail}.", is_error=True)
    problems = []
    for problem in detail:
        names = [str(part) for part in problem["loc"] if part != "body"]
        argument = ".".join(tool.argument(name) if tool else name for name in names)
        problems.append(f"{argument}: {problem['msg']}." if argument else f"{problem['msg']}.")
    return ToolAnswer("\n".join(problems), is_error=True)


def _seconds(view: JobView, index: str) -> float:
    """The length of a song: that of its codes, where it has some, or of the first song of its job."""
    codes = song_codes(view, index)
    result = view.result or {}
    return len(codes) / CODES_PER_SECOND if codes and index != "0" else float(result["duration"])


def _standing(view: JobView) -> str:
    """Where an open job stands, in a few words."""
    eta = "" if view.eta_seconds is None else f", about {view.eta_seconds:.0f} s left"
    if view.state is JobState.QUEUED:
        return f"waiting, position {view.queue_position}{eta}"
    return f"{view.stage}{eta}"


def _told(view: JobView, job: JobResponse) -> str:
    """The job as sentences for a model."""
    match view.state:
        case JobState.FAILED:
            return f"The job {job.job_id} failed: {job.error}"
        case JobState.CANCELLED:
            return f"The job {job.job_id} was cancelled."
        case JobState.QUEUED | JobState.RUNNING:
            return (
                f"The job {job.job_id} goes on ({_standing(view)}). "
                f"`{tools.FOLLOW}` waits for it, `{tools.CANCEL}` ends it."
            )
    assert job.result is not None
    if not job.result.audio_paths:
        return f"{job.result.status_message} {json.dumps(job.result.metas, ensure_ascii=False)}"
    paths = ", ".join(job.result.audio_paths)
    return (
        f"{job.result.status_message} Songs of the job {job.job_id}, for downloads and further tools: {paths}"
    )


def _facts(job: JobResponse) -> dict[str, Any]:
    """The job as JSON, without the audio codes, which are long and tell a model nothing."""
    facts = job.model_dump(mode="json", exclude={"result": {"audio_codes", "timings", "generation_info"}})
    return {name: value for name, value in facts.items() if value is not None}


def _public(request: Request, path: str) -> str:
    """The URL of a path for the agent, by the host that it has used.

    A proxy in front of the server may tell the scheme. Nobody but the caller sees the URL.
    """
    scheme = request.headers.get("x-forwarded-proto", request.url.scheme)
    if scheme not in ("http", "https"):
        scheme = request.url.scheme
    return f"{scheme}://{request.url.netloc}{request.scope.get(PREFIX_KEY, '')}{path}"
