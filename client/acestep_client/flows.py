"""The calls of the client as flows. Each takes the rules of its repetitions first.

All of them raise `AcestepError`: what the server refuses at once, and what passes only after it has been
tried as long as the rules allow.
"""

import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from time import monotonic
from typing import IO, Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from acestep_client.answers import (
    Condition,
    JobPage,
    JobResult,
    JobSnapshot,
    Models,
    Stats,
    Submitted,
    WrittenSong,
)
from acestep_client.bodies import FORMAT, SAMPLE, STRICT, request_for, with_counting_seed
from acestep_client.effects import READ_SECONDS, Emit, Flow, Next, Open, Request, Send, Sleep, Stream, Tell
from acestep_client.errors import (
    AcestepError,
    IncompatibleServerError,
    JobCancelledError,
    JobFailedError,
    UnreachableError,
    WaitTimeoutError,
    refusal,
)
from acestep_client.later_answers import BatchSnapshot, Purged, SubmittedBatch, Usage
from acestep_client.retrying import Retries

QUIET_WAIT_SECONDS = 30.0
"""Seconds that a poll waits for a change where nobody wants to see the progress."""
PROGRESS_WAIT_SECONDS = 1.0
"""The same where somebody does."""
BATCH_WAIT_SECONDS = 2.0
"""Seconds between two looks at a batch."""
PAGE = 100
"""Jobs of one page of a list."""
ENDED = frozenset({"succeeded", "failed", "cancelled"})

_Model = TypeVar("_Model", bound=BaseModel)
OnProgress = Callable[[JobSnapshot], Any]
"""Called with the job as it stands; it may return an awaitable for `AsyncClient`."""


def submitted(
    retries: Retries, path: str, fields: Mapping[str, Any], idempotency_key: str | None = None
) -> Flow[Submitted]:
    """Submit a job, and the same job again if the answer is lost: the idempotency key tells the server."""
    key = idempotency_key or uuid.uuid4().hex
    request = request_for(path, fields, {**STRICT, "Idempotency-Key": key})
    return (yield from _asked(retries, request, Submitted))


def sampled(retries: Retries, query: str, fields: Mapping[str, Any]) -> Flow[WrittenSong]:
    """Let the server write a song from one sentence."""
    values = {**fields, "query": query}
    return (yield from _asked(retries, request_for(SAMPLE, values, STRICT), WrittenSong))


def formatted(retries: Retries, caption: str, lyrics: str, fields: Mapping[str, Any]) -> Flow[WrittenSong]:
    """Let the server rewrite a caption and lyrics."""
    values = {**fields, "caption": caption, "lyrics": lyrics}
    return (yield from _asked(retries, request_for(FORMAT, values, STRICT), WrittenSong))


def snapshot(retries: Retries, job_id: str, wait: float = 0.0) -> Flow[JobSnapshot]:
    """Return a job as it stands, or after its next change of status or stage, in `wait` seconds at most."""
    parameters = {"wait": f"{wait:g}"} if wait else {}
    request = Request("GET", _job(job_id), parameters, read_seconds=wait + READ_SECONDS)
    return (yield from _asked(retries, request, JobSnapshot))


def ended(
    retries: Retries, job_id: str, on_progress: OnProgress | None = None, timeout: float | None = None
) -> Flow[JobSnapshot]:
    """Wait for the end of a job, whichever it is. Raises WaitTimeoutError after `timeout` seconds."""
    deadline = None if timeout is None else monotonic() + timeout
    longest = QUIET_WAIT_SECONDS if on_progress is None else PROGRESS_WAIT_SECONDS
    wait = 0.0
    while True:
        current = yield from snapshot(retries, job_id, wait)
        if on_progress is not None:
            yield Tell(on_progress, current)
        if current.status in ENDED:
            return current
        wait = longest
        if deadline is not None:
            wait = min(longest, deadline - monotonic())
            if wait <= 0:
                raise WaitTimeoutError(f"the job {job_id} is still {current.status} after {timeout:g} s")


def result_of(job: JobSnapshot) -> JobResult:
    """Return the result of a job that has ended. Raises JobFailedError and JobCancelledError."""
    if job.result is not None:
        return job.result
    if job.status == "cancelled":
        raise JobCancelledError(f"the job {job.job_id} was cancelled", job)
    raise JobFailedError(job.error or f"the job {job.job_id} failed", job)


def events(retries: Retries, job_id: str) -> Flow[None]:
    """Emit the job at each change of its position, stage and progress, to its end.

    A stream that breaks is opened again with the id of the last event, so that nothing is emitted twice.
    """
    attempts = retries.begin()
    last_id = ""
    while True:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        problem: AcestepError
        try:
            stream: Stream = yield Open(Request("GET", f"{_job(job_id)}/events", headers=headers), True)
            if stream.response.status_code == httpx.codes.NO_CONTENT:
                return  # the last event was the job's end
            if not stream.response.is_success:
                problem = refusal(stream.response)
            else:
                while (event := (yield Next(stream))) is not None:
                    attempts.succeeded()
                    if not event.data:
                        continue  # a comment, by which the server shows that it is there
                    last_id = event.id
                    current = _parsed(event.data, JobSnapshot)
                    yield Emit(current)
                    if current.status in ENDED:
                        return
                problem = UnreachableError("the server ended the stream of events before the job's end")
        except httpx.TransportError as error:
            problem = _unreachable(error)
        yield Sleep(attempts.pause_after(problem))


def jobs(retries: Retries, status: str | None = None, limit: int | None = None) -> Flow[None]:
    """Emit the caller's jobs, the newest first, at most `limit` of them."""
    left = limit
    parameters = {} if status is None else {"status": status}
    while left is None or left > 0:
        parameters["limit"] = str(PAGE if left is None else min(PAGE, left))
        page = yield from _asked(retries, Request("GET", "/v1/jobs", dict(parameters)), JobPage)
        for job in page.jobs:
            yield Emit(job)
        if page.next_cursor is None:
            return
        parameters["cursor"] = page.next_cursor
        left = None if left is None else left - len(page.jobs)


def cancelled(retries: Retries, job_id: str) -> Flow[JobSnapshot]:
    """Cancel a job. Raises ConflictError if it has ended otherwise."""
    return (yield from _asked(retries, Request("DELETE", _job(job_id)), JobSnapshot))


def purged(retries: Retries, job_id: str) -> Flow[Purged]:
    """Delete a job with all that is kept of it; one that has not ended is cancelled."""
    return (yield from _asked(retries, Request("DELETE", _job(job_id), {"purge": "true"}), Purged))


def submitted_batch(
    retries: Retries,
    requests: Iterable[Mapping[str, Any]],
    callback_url: str | None,
    idempotency_key: str | None,
) -> Flow[SubmittedBatch]:
    """Submit all jobs or none."""
    body: dict[str, Any] = {"requests": [with_counting_seed(fields) for fields in requests]}
    if callback_url is not None:
        body["callback_url"] = callback_url
    headers = {**STRICT, "Idempotency-Key": idempotency_key or uuid.uuid4().hex}
    request = Request("POST", "/v1/music/batch", headers=headers, body=body)
    return (yield from _asked(retries, request, SubmittedBatch))


def batch(retries: Retries, batch_id: str) -> Flow[BatchSnapshot]:
    """Return a batch as it stands."""
    return (yield from _asked(retries, Request("GET", _batch(batch_id)), BatchSnapshot))


def cancelled_batch(retries: Retries, batch_id: str) -> Flow[BatchSnapshot]:
    """Cancel all jobs of a batch that have not ended."""
    return (yield from _asked(retries, Request("DELETE", _batch(batch_id)), BatchSnapshot))


def ended_batch(
    retries: Retries,
    batch_id: str,
    on_progress: Callable[[BatchSnapshot], Any] | None = None,
    timeout: float | None = None,
) -> Flow[BatchSnapshot]:
    """Wait until all jobs of a batch have ended. Raises WaitTimeoutError after `timeout` seconds."""
    deadline = None if timeout is None else monotonic() + timeout
    while True:
        current = yield from batch(retries, batch_id)
        if on_progress is not None:
            yield Tell(on_progress, current)
        if current.is_ended:
            return current
        wait = BATCH_WAIT_SECONDS
        if deadline is not None:
            wait = min(wait, deadline - monotonic())
            if wait <= 0:
                raise WaitTimeoutError(f"the batch {batch_id} has not ended after {timeout:g} s")
        yield Sleep(wait)


def usage(retries: Retries, first_day: str | None, last_day: str | None) -> Flow[Usage]:
    """Return what the caller used."""
    given = {"from": first_day, "to": last_day}
    parameters = {name: day for name, day in given.items() if day is not None}
    return (yield from _asked(retries, Request("GET", "/v1/usage", parameters), Usage))


def models(retries: Retries) -> Flow[Models]:
    """Return the models, formats and limits of the server."""
    return (yield from _asked(retries, Request("GET", "/v1/models"), Models))


def stats(retries: Retries) -> Flow[Stats]:
    """Return the load of the server."""
    return (yield from _asked(retries, Request("GET", "/v1/stats"), Stats))


def condition(retries: Retries) -> Flow[Condition]:
    """Return the condition of a server that can run jobs. Raises UnavailableError for another one."""
    return (yield from _asked(retries, Request("GET", "/ready"), Condition))


def content(retries: Retries, url: str) -> Flow[bytes]:
    """Return the content of a song."""
    with tempfile.TemporaryFile() as file:
        yield from _downloaded(retries, url, file)
        file.seek(0)
        return file.read()


def saved(retries: Retries, url: str, target: Path) -> Flow[None]:
    """Write a song to a file, which appears when it is complete. Raises OSError, too."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with part.open("xb") as file:
            yield from _downloaded(retries, url, file)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _downloaded(retries: Retries, url: str, file: IO[bytes]) -> Flow[None]:
    """Write what the URL names into an empty file. A download that breaks goes on where it broke."""
    attempts = retries.begin()
    tag = ""
    while True:
        received = file.tell()
        headers = {"Range": f"bytes={received}-", "If-Range": tag} if received and tag else {}
        try:
            stream: Stream = yield Open(Request("GET", url, headers=headers), False)
            if not stream.response.is_success:
                problem: AcestepError = refusal(stream.response)
            else:
                if stream.response.status_code != httpx.codes.PARTIAL_CONTENT:
                    file.seek(0)
                    file.truncate()
                tag = stream.response.headers.get("etag", "")
                while (piece := (yield Next(stream))) is not None:
                    attempts.succeeded()
                    file.write(piece)
                return
        except httpx.TransportError as error:
            problem = _unreachable(error)
        yield Sleep(attempts.pause_after(problem))


def _asked(retries: Retries, request: Request, model: type[_Model]) -> Flow[_Model]:
    """Send a request until it is answered, and return the answer."""
    attempts = retries.begin()
    while True:
        try:
            response: httpx.Response = yield Send(request)
        except httpx.TransportError as error:
            problem: AcestepError = _unreachable(error)
        else:
            if response.is_success:
                return _parsed(response.content, model)
            problem = refusal(response)
        yield Sleep(attempts.pause_after(problem))


def _parsed(text: str | bytes, model: type[_Model]) -> _Model:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the answer"
        raise IncompatibleServerError(
            f"this client does not understand what the server answers ({place}: {first['msg']}); "
            "does the address lead to acestep-serve?"
        ) from error


def _unreachable(error: httpx.TransportError) -> UnreachableError:
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        reason = "it did not answer in time"
    problem = UnreachableError(f"the server cannot be reached: {reason}")
    problem.__cause__ = error
    return problem


def _job(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _batch(batch_id: str) -> str:
    return f"/v1/batches/{quote(batch_id, safe='')}"
