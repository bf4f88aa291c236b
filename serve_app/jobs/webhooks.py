"""Tells `callback_url` that a job has ended: signed, tried again, and never to an address inside.

Signatures follow the Standard Webhooks specification (standardwebhooks.com): HMAC-SHA256 over
"id.timestamp.body". The id is the job's and stays the same in every attempt. Deliveries happen at least once.
"""

import asyncio
import base64
import hmac
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from configs.settings import WebhookSettings
from deployments.job_log import about
from serve_app.api.responses import JobResponse
from serve_app.jobs.addresses import AddressRefusedError, public_address, resolved
from serve_app.jobs.model import Callback, Job
from serve_app.jobs.observer import JobObserver
from serve_app.jobs.tracker import JobTracker

logger = logging.getLogger("ray.serve")

MAX_DELIVERIES = 64
MAX_DELIVERIES_PER_HOST = 4
"""A receiver that hangs keeps only its own senders waiting."""
MAX_PAUSE_SECONDS = 3600.0
SECRET_PREFIX = "whsec_"
_HEADERS = {"Content-Type": "application/json", "User-Agent": "acestep-serve"}
_UNOBSERVED = JobObserver()
_PURPOSE = b"acestep webhook v1\n"
"""The store's secret signs other things, too: each with a key of its own."""


def webhook_secret(store_secret: bytes, client: str) -> str:
    """What a client verifies deliveries with: each client has its own."""
    key = hmac.digest(store_secret, _PURPOSE + client.encode(), "sha256")
    return SECRET_PREFIX + base64.b64encode(key).decode()


def signed_headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of the specification."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    mac = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


class WebhookSender:
    """Deliveries of one tracker, side by side. `secret` gives the store's."""

    def __init__(
        self,
        settings: WebhookSettings,
        secret: Callable[[], Awaitable[bytes]],
        clock: Callable[[], float],
        observer: JobObserver = _UNOBSERVED,
        verify: Any = True,
    ) -> None:
        self._settings = settings
        self._secret = secret
        self._clock = clock
        self._observer = observer
        # A bare transport: no proxies, redirects, cookies or kept connections. A delivery goes where it was
        # checked to go.
        self._http = httpx.AsyncHTTPTransport(
            verify=verify, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )
        self._deliveries: dict[str, asyncio.Task[None]] = {}
        self._hosts: Counter[str] = Counter()

    def deliver_due(self, tracker: JobTracker) -> None:
        """Start what is due and has room; the tracker is told how each delivery ended."""
        for job in sorted(
            tracker.ended.callbacks_due(), key=lambda job: job.callback.due_at if job.callback else 0
        ):
            host = _host(job)
            if len(self._deliveries) >= MAX_DELIVERIES:
                return
            if job.job_id not in self._deliveries and self._hosts[host] < MAX_DELIVERIES_PER_HOST:
                self._hosts[host] += 1
                self._deliveries[job.job_id] = asyncio.create_task(self._deliver(job, host, tracker))

    async def wait(self) -> None:
        """Until all deliveries that have started are over."""
        while self._deliveries:
            await asyncio.wait(self._deliveries.values())

    async def close(self) -> None:
        """Give up what is under way."""
        for delivery in self._deliveries.values():
            delivery.cancel()
        await asyncio.gather(*self._deliveries.values(), return_exceptions=True)
        await self._http.aclose()

    async def _deliver(self, job: Job, host: str, tracker: JobTracker) -> None:
        try:
            problem, final = await self._try(job, tracker)
            if not problem:
                self._observer.called_back("delivered")
            tracker.ended.called_back(job.job_id, self._next(job, problem, final) if problem else None)
        except Exception:
            logger.exception("the callback of job %s could not be sent", job.job_id, extra=about(job.job_id))
            tracker.ended.called_back(job.job_id, self._next(job, "an internal error", False))
        finally:
            del self._deliveries[job.job_id]
            self._hosts[host] -= 1
            if not self._hosts[host]:
                del self._hosts[host]

    async def _try(self, job: Job, tracker: JobTracker) -> tuple[str, bool]:
        """One delivery: what went wrong ("" where nothing did), and whether it always will."""
        view = tracker.view(job.job_id)
        if view is None:
            return "the job is not known any more", True
        body = JobResponse.of(view).model_dump_json().encode()
        secret = webhook_secret(await self._secret(), job.client)
        headers = signed_headers(secret, job.job_id, int(self._clock()), body)
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                status = await self._post(str(job.spec.request.callback_url), headers, body)
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
        """The status of the answer; nothing else of it is read."""
        host = httpx.URL(url).raw_host.decode()
        addresses = await resolved(host)
        if not self._settings.allow_private_addresses:
            addresses = [public_address(address) for address in addresses]
        for address in addresses:
            request = httpx.Request("POST", url, content=body, headers={**_HEADERS, **headers})
            # Connect to what was checked: a second look at the DNS could tell another address.
            request.url = request.url.copy_with(host=str(address))
            request.extensions["sni_hostname"] = host
            try:
                response = await self._http.handle_async_request(request)
            except httpx.ConnectError:
                continue
            await response.aclose()
            return response.status_code
        raise httpx.ConnectError("none of the host's addresses answers")

    def _next(self, job: Job, problem: str, final: bool) -> Callback | None:
        attempts = (job.callback.attempts if job.callback else 0) + 1
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
        pause = min(self._settings.first_retry_seconds * 2 ** (attempts - 1), MAX_PAUSE_SECONDS)
        return Callback(self._clock() + pause, attempts)


def _host(job: Job) -> str:
    return httpx.URL(str(job.spec.request.callback_url)).host
