"""Delivers ends of jobs to `callback_url`: signed, with retries, and never to a private address.

Signatures follow the Standard Webhooks specification (standardwebhooks.com): HMAC-SHA256 over
"id.timestamp.body". The id is the same in every try; that of a job's end is the job's. An end is delivered at
least once. What is told of a job that runs is decided in `news`, and may be lost.
"""

import asyncio
import base64
import heapq
import hmac
import logging
import os
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import httpx

from configs.settings import WebhookSettings
from deployments.common.job_log import about
from serve_app.jobs.batches import BatchView
from serve_app.jobs.ended import callback_pause
from serve_app.jobs.housekeeping.news import Message, News
from serve_app.jobs.model import Callback, Job
from serve_app.jobs.observer import JobObserver
from serve_app.jobs.shown import BatchResponse, JobResponse
from serve_app.jobs.tracker import JobTracker
from serve_app.request.addresses import AddressRefusedError, public_address, resolved

logger = logging.getLogger("ray.serve")

MAX_DELIVERIES = 64
MAX_DELIVERIES_PER_HOST = 4
"""Limits what a receiver that hangs can block."""
MAX_DELIVERIES_PER_CLIENT = 8
"""Limits what a client can block whose receivers hang, on any number of hosts."""
PROXY_PASSWORD_VARIABLE = "ACESTEP_WEBHOOK_PROXY_PASSWORD"
EVENT_HEADER = "webhook-event"
SECRET_PREFIX = "whsec_"
_HEADERS = {"Content-Type": "application/json", "User-Agent": "acestep-serve"}
_UNOBSERVED = JobObserver()
_PURPOSE = b"acestep webhook v1\n"
"""Derives a separate key, because the store's secret has other purposes, too."""


def webhook_secret(store_secret: bytes, client: str) -> str:
    """Return the secret with which a client verifies its deliveries."""
    key = hmac.digest(store_secret, _PURPOSE + client.encode(), "sha256")
    return SECRET_PREFIX + base64.b64encode(key).decode()


def signed_headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers of the specification."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    mac = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


class WebhookSender:
    """Makes the deliveries of one tracker, several at a time. `secret` returns the store's secret."""

    def __init__(
        self,
        settings: WebhookSettings,
        secret: Callable[[], Awaitable[bytes]],
        clock: Callable[[], float],
        observer: JobObserver = _UNOBSERVED,
        verify: Any = True,
        steady: Callable[[], float] | None = None,
        batch_of: Callable[[str], Awaitable[BatchView | None]] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`batch_of` returns a batch by its id."""
        self._settings = settings
        self._secret = secret
        self._clock = clock
        self._observer = observer
        # A bare transport: no redirects, cookies, kept connections or proxies of the environment. A delivery
        # goes where it was checked to go.
        self._http = transport or httpx.AsyncHTTPTransport(
            verify=verify,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
            proxy=_proxy(settings.proxy),
        )
        self._news = News(steady or clock)
        self._batch_of = batch_of
        self._deliveries: dict[str, asyncio.Task[None]] = {}
        """One for each job at a time, so that none overtakes another."""
        self._hosts: Counter[str] = Counter()
        self._clients: Counter[str] = Counter()

    def deliver_due(
        self, tracker: JobTracker, may_tell: Callable[[Message], bool] = lambda _message: True
    ) -> None:
        """Start deliveries that are due, within the limits; the tracker gets the outcome of each.

        `may_tell` tells whether a message may be sent now; others may be sent by a later call.
        The next delivery is the one that has been due longest, of the client with the fewest under way. Ends
        of jobs come before news of jobs that run.
        """
        due: defaultdict[str, deque[Message]] = defaultdict(deque)
        ended = sorted(
            tracker.ended.callbacks_due(), key=lambda job: job.callback.due_at if job.callback else 0
        )
        ends = [Message(job, "finished", job.job_id) for job in ended]
        batches = [
            Message(job, "batch", job.batch.batch_id)
            for job in tracker.ended.batch_callbacks_due()
            if job.batch is not None
        ]
        for message in [*ends, *batches, *self._news.due(tracker.with_news())]:
            if message.job.job_id not in self._deliveries and may_tell(message):
                due[message.job.client].append(message)
        turns = [(self._clients[client], client) for client in due]
        heapq.heapify(turns)
        while turns and len(self._deliveries) < MAX_DELIVERIES:
            under_way, client = heapq.heappop(turns)
            if under_way >= MAX_DELIVERIES_PER_CLIENT:
                return  # the other clients have at least as many
            if chosen := self._with_room(due[client]):
                self._start(chosen, tracker)
                heapq.heappush(turns, (under_way + 1, client))

    def _with_room(self, messages: deque[Message]) -> Message | None:
        """Remove and return the first one whose receiver may get another delivery, with all before it."""
        while messages:
            message = messages.popleft()
            if self._hosts[_host(message)] < MAX_DELIVERIES_PER_HOST:
                return message
        return None

    def _start(self, message: Message, tracker: JobTracker) -> None:
        host = _host(message)
        self._hosts[host] += 1
        self._clients[message.job.client] += 1
        self._deliveries[message.job.job_id] = asyncio.create_task(self._make(message, host, tracker))

    async def wait(self) -> None:
        """Wait until all deliveries under way have ended."""
        while self._deliveries:
            await asyncio.wait(self._deliveries.values())

    async def close(self) -> None:
        """Cancel the deliveries under way."""
        for delivery in self._deliveries.values():
            delivery.cancel()
        await asyncio.gather(*self._deliveries.values(), return_exceptions=True)
        await self._http.aclose()

    async def _tell(self, message: Message, tracker: JobTracker) -> None:
        """Tell of a job that runs, once."""
        problem = "an internal error"
        try:
            problem, _ = await self._try(message, tracker)
        except Exception:
            job_id = message.job.job_id
            logger.exception("news of job %s could not be sent", job_id, extra=about(job_id))
        self._observer.called_back("failed" if problem else "delivered")
        self._news.sent(message, delivered=not problem)

    async def _deliver(self, message: Message, tracker: JobTracker) -> None:
        """Tell of an end, once; the tracker notes whether that has to be tried again."""
        job, is_batch = message.job, message.event == "batch"
        told = tracker.ended.batch_called_back if is_batch else tracker.ended.called_back
        before = job.batch_callback if is_batch else job.callback
        try:
            problem, final = await self._try(message, tracker)
            if not problem:
                self._observer.called_back("delivered")
            told(job, self._next(job, before, problem, final) if problem else None)
        except Exception:
            logger.exception("the callback of job %s could not be sent", job.job_id, extra=about(job.job_id))
            told(job, self._next(job, before, "an internal error", False))

    async def _make(self, message: Message, host: str, tracker: JobTracker) -> None:
        """Make a delivery, which counts as under way meanwhile."""
        job = message.job
        try:
            if message.is_of_end:
                await self._deliver(message, tracker)
            else:
                await self._tell(message, tracker)
        finally:
            del self._deliveries[job.job_id]
            for counts, name in ((self._hosts, host), (self._clients, job.client)):
                counts[name] -= 1
                if not counts[name]:
                    del counts[name]

    async def _try(self, message: Message, tracker: JobTracker) -> tuple[str, bool]:
        """Make one try; return (problem or "", whether further tries are useless)."""
        job = message.job
        if message.event == "batch":
            batch = await self._batch_of(message.message_id) if self._batch_of else None
            if batch is None:
                return "the batch is not known any more", True
            body = BatchResponse.of(batch).model_dump_json().encode()
        else:
            view = tracker.view_for_callback(job.job_id)
            if view is None:
                return "the job is not known any more", True
            if message.event != "finished" and view.state.is_final:
                return "", True  # Its end is told instead.
            body = JobResponse.of(view).model_dump_json().encode()
        secret = webhook_secret(await self._secret(), job.client)
        headers = signed_headers(secret, message.message_id, int(self._clock()), body)
        headers[EVENT_HEADER] = message.event
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                status = await self._post(message.url, headers, body)
        except AddressRefusedError as error:
            return str(error), True
        except TimeoutError:
            return "no answer in time", False
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return type(error).__name__, False
        if httpx.codes.is_success(status):
            return "", False
        return f"status {status}", status == httpx.codes.GONE

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> int:
        """Return the status of the answer. Its body is not read; its headers may take 100 kB."""
        request = httpx.Request("POST", url, content=body, headers={**_HEADERS, **headers})
        if self._settings.proxy is not None:
            return await self._send(request)  # the proxy resolves the host, and blocks addresses
        host = request.url.raw_host.decode()
        for address in await self._addresses(host):
            # Connect to the address that was checked: a second DNS query could return another one.
            direct = httpx.Request("POST", url, content=body, headers=request.headers)
            direct.url = direct.url.copy_with(host=str(address))
            direct.extensions["sni_hostname"] = host
            try:
                return await self._send(direct)
            except httpx.ConnectError:
                continue
        raise httpx.ConnectError("none of the host's addresses answers")

    async def _send(self, request: httpx.Request) -> int:
        response = await self._http.handle_async_request(request)
        await response.aclose()
        return response.status_code

    async def _addresses(self, host: str) -> list[IPv4Address | IPv6Address]:
        """Resolve a host. Raises AddressRefusedError if one of its addresses is not public."""
        look_up = asyncio.ensure_future(resolved(host))
        try:
            addresses = await asyncio.shield(look_up)
        except asyncio.CancelledError:
            # A thread that waits for a name server cannot be stopped. The delivery lasts until it ends, so
            # that no client can have more such threads than deliveries.
            await asyncio.gather(look_up, return_exceptions=True)
            raise
        if self._settings.allow_private_addresses:
            return addresses
        return [public_address(address) for address in addresses]

    def _next(self, job: Job, before: Callback | None, problem: str, final: bool) -> Callback | None:
        attempts = (before.attempts if before else 0) + 1
        if final or attempts >= self._settings.max_attempts:
            logger.warning(
                "gave up the callback of job %s after attempt %d: %s",
                job.job_id,
                attempts,
                problem,
                extra=about(job.job_id),
            )
            self._observer.called_back("given_up")
            return None
        self._observer.called_back("failed")
        return Callback(self._clock() + callback_pause(self._settings, attempts), attempts)


def _host(message: Message) -> str:
    return httpx.URL(message.url).host


def _proxy(url: str | None) -> httpx.Proxy | None:
    """Return the proxy of the settings, with its password from the environment."""
    if url is None:
        return None
    proxy = httpx.URL(url)
    password = os.environ.get(PROXY_PASSWORD_VARIABLE, "")
    auth = (proxy.username, password) if proxy.username else None
    return httpx.Proxy(proxy.copy_with(userinfo=b""), auth=auth)
