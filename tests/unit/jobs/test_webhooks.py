"""Callbacks to real local receivers: signed, repeated, kept apart, and refused where they would go inside."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import httpx
import pytest
import trustme
from standardwebhooks import Webhook, WebhookVerificationError

from configs.metrics import Delivery
from configs.settings import JobSettings, WebhookSettings
from serve_app.api.schemas import GenerateRequest
from serve_app.jobs.addresses import AddressRefusedError, public_address
from serve_app.jobs.journal import Journal
from serve_app.jobs.model import Client, JobSpec, NewJob
from serve_app.jobs.observer import JobObserver
from serve_app.jobs.store import MemoryJobStore
from serve_app.jobs.tracker import JobTracker
from serve_app.jobs.webhooks import WebhookSender, webhook_secret
from tests.job_records import WORK

SETTINGS = WebhookSettings(
    allow_private_addresses=True, max_attempts=3, first_retry_seconds=2, timeout_seconds=0.5
)
STORE_SECRET = bytes(range(32))


class Clock:
    def __init__(self) -> None:
        self.now = time.time()  # receivers refuse what was signed long ago

    def __call__(self) -> float:
        return self.now


@dataclass
class Receiver:
    """An HTTP server that keeps what it is sent and answers as told, the last answer again and again."""

    answers: list[str]
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""
    delay: float = 0.0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        self.requests.append((headers, await reader.readexactly(int(headers["content-length"]))))
        await asyncio.sleep(self.delay)
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def receiving(
    *answers: str, delay: float = 0.0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    receiver = Receiver(list(answers), delay=delay)
    server = await asyncio.start_server(receiver.take, "127.0.0.1", 0, ssl=tls)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?x=1"
    async with server:
        yield receiver


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tracker(clock: Clock) -> JobTracker:
    return JobTracker(JobSettings(), Journal(MemoryJobStore()), clock)


Sender = Callable[..., WebhookSender]


@pytest.fixture
async def sender_of(clock: Clock) -> AsyncIterator[Sender]:
    senders = []

    async def secret() -> bytes:
        return STORE_SECRET

    def started(settings: WebhookSettings, **options: Any) -> WebhookSender:
        senders.append(WebhookSender(settings, secret, clock, **options))
        return senders[-1]

    yield started
    for sender in senders:
        await sender.close()


def ended_job(tracker: JobTracker, url: str, job_id: str = "a-job") -> None:
    """A job that has been cancelled, and whose client wants to hear of it."""
    spec = JobSpec(GenerateRequest(callback_url=url), seeds=(1,))
    tracker.submit(NewJob(job_id, spec, WORK, Client("anna")))
    tracker.cancel(job_id)


async def deliver(sender: WebhookSender, tracker: JobTracker) -> None:
    sender.deliver_due(tracker)
    await sender.wait()


async def test_a_receiver_gets_the_job_as_a_poll_shows_it_and_can_verify_who_sent_it(
    tracker: JobTracker, sender_of: Sender
) -> None:
    async with receiving("204 No Content") as receiver:
        ended_job(tracker, receiver.url)
        await deliver(sender_of(SETTINGS), tracker)
        await deliver(sender_of(SETTINGS), tracker)
    ((headers, body),) = receiver.requests
    Webhook(webhook_secret(STORE_SECRET, "anna")).verify(body.decode(), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(webhook_secret(STORE_SECRET, "bert")).verify(body.decode(), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(webhook_secret(STORE_SECRET, "anna")).verify(body.decode() + " ", headers)
    job = json.loads(body)
    assert (job["job_id"], job["status"], job["result"]) == ("a-job", "cancelled", None)
    assert headers["webhook-id"] == "a-job"
    assert headers["host"] == receiver.url.split("/")[2]
    assert not tracker.ended.callbacks_due()


async def test_a_failed_delivery_is_repeated_after_doubling_pauses_under_the_same_id(
    tracker: JobTracker, sender_of: Sender, clock: Clock
) -> None:
    sender = sender_of(SETTINGS)
    async with receiving("500 Oops", "307 Elsewhere\r\nLocation: /", "200 OK") as receiver:
        ended_job(tracker, receiver.url)
        for pause in (2, 4):
            await deliver(sender, tracker)
            clock.now += pause - 0.1
            assert not tracker.ended.callbacks_due()
            clock.now += 0.2
            assert tracker.ended.callbacks_due()
        await deliver(sender, tracker)
    assert len(receiver.requests) == 3
    assert {headers["webhook-id"] for headers, _ in receiver.requests} == {"a-job"}
    assert len({headers["webhook-signature"] for headers, _ in receiver.requests}) == 3
    clock.now += 3600
    assert not tracker.ended.callbacks_due()


@pytest.mark.parametrize(("answer", "tries"), [("503 Busy", 3), ("410 Gone", 1)])
async def test_a_delivery_is_given_up_after_the_last_attempt_or_when_nobody_wants_it(
    tracker: JobTracker, sender_of: Sender, clock: Clock, answer: str, tries: int
) -> None:
    sender = sender_of(SETTINGS)
    async with receiving(answer) as receiver:
        ended_job(tracker, receiver.url)
        for _ in range(5):
            await deliver(sender, tracker)
            clock.now += 100
    assert len(receiver.requests) == tries


@pytest.mark.parametrize(
    ("answers", "outcomes"),
    [
        (["200 OK"], ["delivered"]),
        (["503 Busy", "200 OK"], ["failed", "delivered"]),
        (["503 Busy"], ["failed", "failed", "given_up"]),
        (["410 Gone"], ["given_up"]),
    ],
)
async def test_every_try_is_told_with_its_outcome(
    tracker: JobTracker, sender_of: Sender, clock: Clock, answers: list[str], outcomes: list[str]
) -> None:
    class Listener(JobObserver):
        def called_back(self, outcome: Delivery) -> None:
            heard.append(outcome)

    heard: list[Delivery] = []
    sender = sender_of(SETTINGS, observer=Listener())
    async with receiving(*answers) as receiver:
        ended_job(tracker, receiver.url)
        for _ in range(4):
            await deliver(sender, tracker)
            clock.now += 100
    assert heard == outcomes


async def test_a_receiver_that_hangs_or_is_not_there_delays_no_other(
    tracker: JobTracker, sender_of: Sender, clock: Clock
) -> None:
    sender = sender_of(SETTINGS)
    async with receiving("200 OK", delay=5) as hanging, receiving("200 OK") as quick:
        for index in range(6):
            ended_job(tracker, hanging.url.replace("127.0.0.1", "localhost"), f"hangs-{index}")
        ended_job(tracker, "http://127.0.0.1:9/", "nobody")
        ended_job(tracker, quick.url, "quick")
        sender.deliver_due(tracker)
        await asyncio.sleep(0.3)
        assert [headers["webhook-id"] for headers, _ in quick.requests] == ["quick"]
        await sender.wait()
    assert len(hanging.requests) == 4
    assert len(tracker.ended.callbacks_due()) == 2
    clock.now += 2
    assert len(tracker.ended.callbacks_due()) == 7


async def test_a_certificate_is_checked_against_the_name_although_the_address_is_called(
    tracker: JobTracker, sender_of: Sender
) -> None:
    authority = trustme.CA()
    of_server, of_client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(of_server)
    authority.configure_trust(of_client)
    async with receiving("200 OK", tls=of_server) as receiver:
        port = httpx.URL(receiver.url).port
        ended_job(tracker, f"https://localhost:{port}/", "named")
        ended_job(tracker, f"https://127.0.0.1:{port}/", "unnamed")
        await deliver(sender_of(SETTINGS, verify=of_client), tracker)
    assert [headers["webhook-id"] for headers, _ in receiver.requests] == ["named"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0.0.0.0"]
)
async def test_no_callback_goes_inside(
    tracker: JobTracker, sender_of: Sender, clock: Clock, host: str
) -> None:
    sender = sender_of(SETTINGS.model_copy(update={"allow_private_addresses": False}))
    async with receiving("200 OK") as receiver:
        url = httpx.URL(receiver.url)
        ended_job(tracker, f"http://{host}:{url.port}/")
        await deliver(sender, tracker)
        clock.now += 3600
        await deliver(sender, tracker)
    assert receiver.requests == []
    assert not tracker.ended.callbacks_due()


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:7f00:1::1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    with pytest.raises(AddressRefusedError):
        public_address(ip_address(address))


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
def test_addresses_that_are_public(address: str) -> None:
    assert public_address(ip_address(address)) == ip_address(address)
