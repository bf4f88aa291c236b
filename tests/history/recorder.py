"""A client of the job API whose calls become part of a history."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from tests.history.calls import Call, History, Kind, Outcome, Shown

PAGE = 100
ADDRESS = "X-Forwarded-For"
"""By this header a request from the server's own machine says whose it is, on a server without keys."""


class RecordingClient:
    """Calls the server, and records what it was told. A call that fails is recorded as unanswered."""

    def __init__(self, history: History, http: httpx.Client, url: str, address: str) -> None:
        self.address = address
        self._history = history
        self._http = http
        self._url = url

    def submit(self, song: Mapping[str, Any], key: str | None, timeout: float) -> Call:
        request = self._request("POST", "/v1/music/generate", timeout, json=song)
        if key is not None:
            request.headers["Idempotency-Key"] = key
        return self._call(Kind.SUBMIT, request, key=key)

    def poll(self, job_id: str, timeout: float, wait: float = 0.0) -> Call:
        request = self._request("GET", f"/v1/jobs/{job_id}", timeout, params={"wait": wait})
        return self._call(Kind.POLL, request, job_id)

    def cancel(self, job_id: str, timeout: float) -> Call:
        return self._call(Kind.CANCEL, self._request("DELETE", f"/v1/jobs/{job_id}", timeout), job_id)

    def purge(self, job_id: str, timeout: float) -> Call:
        request = self._request("DELETE", f"/v1/jobs/{job_id}", timeout, params={"purge": "true"})
        return self._call(Kind.PURGE, request, job_id)

    def list(self, timeout: float) -> Call:
        """Read all pages of the client's jobs."""
        return self._call(Kind.LIST, self._request("GET", "/v1/jobs", timeout, params={"limit": PAGE}))

    def _request(self, method: str, path: str, timeout: float, **content: Any) -> httpx.Request:
        headers = {ADDRESS: self.address}
        return self._http.build_request(method, self._url + path, headers=headers, timeout=timeout, **content)

    def _call(
        self, kind: Kind, request: httpx.Request, job_id: str | None = None, key: str | None = None
    ) -> Call:
        start = time.monotonic()
        shown: tuple[Shown, ...] = ()
        problem = ""
        try:
            answer = self._http.send(request)
            outcome = _outcome(kind, answer)
            if outcome is Outcome.UNANSWERED:
                problem = f"{answer.status_code} {answer.text[:100]}"
            elif kind is Kind.LIST:
                shown = tuple(self._all_pages(request, answer))
            else:
                shown = _shown(kind, job_id, answer)
        except httpx.HTTPError as error:
            outcome, problem = Outcome.UNANSWERED, type(error).__name__
        end = time.monotonic()
        call = Call(self.address, kind, start, end, outcome, job_id, key, shown, problem)
        self._history.calls.append(call)
        return call

    def _all_pages(self, first: httpx.Request, answer: httpx.Response) -> Iterator[Shown]:
        """Yield the jobs of a page and of those after it. Raises HTTPError."""
        while True:
            page = answer.raise_for_status().json()
            yield from map(_job, page["jobs"])
            if page["next_cursor"] is None:
                return
            url = first.url.copy_merge_params({"cursor": page["next_cursor"]})
            next_page = httpx.Request("GET", url, headers=first.headers, extensions=first.extensions)
            answer = self._http.send(next_page)


def _outcome(kind: Kind, answer: httpx.Response) -> Outcome:
    if answer.is_success:
        return Outcome.ANSWERED
    if answer.status_code == httpx.codes.NOT_FOUND:
        return Outcome.NOT_FOUND
    if kind is Kind.CANCEL and answer.status_code == httpx.codes.CONFLICT:
        return Outcome.REFUSED
    return Outcome.UNANSWERED


def _shown(kind: Kind, job_id: str | None, answer: httpx.Response) -> tuple[Shown, ...]:
    """Return the job that an answer shows, if it shows one."""
    if answer.is_success and kind is not Kind.PURGE:
        return (_job(answer.json()),)
    if answer.status_code == httpx.codes.CONFLICT and job_id is not None:
        state = answer.json()["detail"].split()[-1]  # "The job has already succeeded"
        return (Shown(job_id, state),)
    return ()


def _job(body: Mapping[str, Any]) -> Shown:
    return Shown(
        body["job_id"],
        body["status"],
        body["queue_position"],
        body.get("stage"),
        body.get("progress"),
        body.get("finished_at"),
    )
