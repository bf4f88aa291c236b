"""Callbacks to real local receivers: signed, repeated, kept apart, and refused for internal addresses."""

import asyncio
import json
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import httpx
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from configs.metrics import Delivery
from configs.settings import JobSettings, WebhookSettings
from serve_app.jobs.housekeeping import webhooks
from serve_app.jobs.housekeeping.webhooks import (
    MAX_DELIVERIES_PER_CLIENT,
    MAX_DELIVERIES_PER_HOST,
    PROXY_PASSWORD_VARIABLE,
    WebhookSender,
    webhook_secret,
)
from serve_app.jobs.model import Client, NewJob
from serve_app.jobs.observer import JobObserver
from serve_app.jobs.storing.journal import Journal
from serve_app.jobs.storing.store import MemoryJobStore
from serve_app.jobs.tracker import JobTracker
from serve_app.request.addresses import SPECIAL_IPV4, SPECIAL_IPV6, AddressRefusedError, public_address
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from tests.job_records import WORK
from tests.runner_server import eventually
from tests.unit.api.test_jobs import RESULT

SETTINGS = WebhookSettings(
    allow_private_addresses=True, max_attempts=3, first_retry_seconds=2, timeout_seconds=20.0
)
STORE_SECRET = bytes(range(32))


class Clock:
    def __init__(self) -> None:
        self.now = time.time()  # Receivers refuse old signatures.

    def __call__(self) -> float:
        return self.now


@dataclass
class Receiver:
    """An HTTP server that records its requests and answers as told, at the end with the last answer again."""

    answers: list[str]
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """The first line of each request."""
    url: str = ""
    delay: float = 0.0
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        self.lines.append(head[0])
        self.requests.append((headers, await reader.readexactly(int(headers.get("content-length", 0)))))
        await asyncio.sleep(self.delay)
        await self.may_answer.wait()
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def receiving(
    *answers: str, delay: float = 0.0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    receiver = Receiver(list(answers), delay=delay)
    receiver.may_answer.set()
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


def ended_job(tracker: JobTracker, url: str, job_id: str = "a-job", client: str = "anna") -> None:
    """Cancel a job whose client wants a callback."""
    spec = JobSpec(GenerateRequest(callback_url=url), seeds=(1,))
    tracker.submit(NewJob(job_id, spec, WORK, Client(client)))
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
    sender = sender_of(SETTINGS.model_copy(update={"timeout_seconds": 3.0}))
    async with receiving("200 OK", delay=30) as hanging, receiving("200 OK") as quick:
        for index in range(6):
            ended_job(tracker, hanging.url.replace("127.0.0.1", "localhost"), f"hangs-{index}")
        ended_job(tracker, "http://127.0.0.1:9/", "nobody")
        ended_job(tracker, quick.url, "quick")
        sender.deliver_due(tracker)
        hang = {name for name in sender._deliveries if name.startswith("hangs")}
        while "quick" in sender._deliveries:  # noqa: ASYNC110, nobody else tells
            await asyncio.sleep(0.01)
        assert [headers["webhook-id"] for headers, _ in quick.requests] == ["quick"]
        assert hang <= sender._deliveries.keys()
        await sender.wait()
    assert len(hanging.requests) == 4
    assert len(tracker.ended.callbacks_due()) == 2
    clock.now += 2
    assert len(tracker.ended.callbacks_due()) == 7


SPELLINGS = ["127.0.0.1", "127.1", "localhost", "2130706433", "0x7f000001", "017700000001"]
"""Names of one receiver, each of which is a host of its own."""


async def test_one_client_s_receivers_on_many_hosts_leave_room_for_others(
    tracker: JobTracker, sender_of: Sender
) -> None:
    sender = sender_of(SETTINGS)
    async with receiving("200 OK", delay=1) as hanging, receiving("200 OK") as quick:
        for index in range(100):
            host = SPELLINGS[index % len(SPELLINGS)]
            ended_job(tracker, hanging.url.replace("127.0.0.1", host), f"hangs-{index}", client="mallory")
        for index in range(20):
            ended_job(tracker, quick.url, f"quick-{index}", client=f"client-{index}")
        sender.deliver_due(tracker)
        sender.deliver_due(tracker)
        await sender.wait()
    assert len(hanging.requests) == MAX_DELIVERIES_PER_CLIENT
    assert len(quick.requests) == MAX_DELIVERIES_PER_HOST


async def test_clients_take_turns_where_there_is_not_room_for_all(
    tracker: JobTracker, sender_of: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "MAX_DELIVERIES", 4)
    async with receiving("200 OK") as receiver:
        for client in ("ann", "ann", "ann", "ann", "ann", "bob", "cy"):
            host = SPELLINGS[len(tracker.ended.callbacks_due()) % len(SPELLINGS)]
            ended_job(tracker, receiver.url.replace("127.0.0.1", host), f"{client}-{host}", client=client)
        await deliver(sender_of(SETTINGS), tracker)
    served = sorted(headers["webhook-id"].split("-")[0] for headers, _ in receiver.requests)
    assert served == ["ann", "ann", "bob", "cy"]


async def test_a_name_server_that_hangs_keeps_the_client_s_places_until_it_answers(
    tracker: JobTracker, sender_of: Sender, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread waits for each name, and nothing can stop it."""
    answered, looked_up = asyncio.Event(), []

    async def hanging(host: str) -> list[IPv4Address | IPv6Address]:
        looked_up.append(host)
        await answered.wait()
        raise OSError(f"nobody knows {host}")

    monkeypatch.setattr(webhooks, "resolved", hanging)
    sender = sender_of(SETTINGS.model_copy(update={"timeout_seconds": 0.01}))
    for index in range(20):
        ended_job(tracker, f"http://host-{index}.example/", f"job-{index}", client="mallory")
    for _ in range(3):
        sender.deliver_due(tracker)
        await asyncio.sleep(0.05)
        clock.now += 100
    assert len(looked_up) == MAX_DELIVERIES_PER_CLIENT
    answered.set()
    await sender.wait()
    clock.now += 100
    assert len(tracker.ended.callbacks_due()) == 20


async def test_a_name_is_looked_up_once_and_what_was_found_is_called(
    tracker: JobTracker, sender_of: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that returns another address the second time gains nothing."""
    asked: list[str] = []
    look_up = socket.getaddrinfo

    def rebinding(host: Any, *arguments: Any, **options: Any) -> Any:
        if host != "rebinding.example":
            return look_up(host, *arguments, **options)
        asked.append(host)
        return look_up("127.0.0.1" if len(asked) == 1 else "127.0.0.2", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    async with receiving("204 No Content") as receiver:
        ended_job(tracker, receiver.url.replace("127.0.0.1", "rebinding.example"))
        await deliver(sender_of(SETTINGS), tracker)
    assert len(receiver.requests) == 1
    assert asked == ["rebinding.example"]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + "1000\r\n" + 0x1000 * "x" + "\r\n", "delivered"),
        ("200 OK\r\n" + "X-More: and more\r\n" * 20_000, "failed"),
        ("200 " + "O" * 1_000_000, "failed"),
        ("100 Continue\r\n\r\nHTTP/1.1 " * 1000 + "100 Continue", "failed"),
    ],
    ids=["endless body", "endless headers", "endless line", "endless interim answers"],
)
async def test_an_answer_without_end_costs_neither_memory_nor_time(
    tracker: JobTracker, sender_of: Sender, answer: str, outcome: Delivery
) -> None:
    class Listener(JobObserver):
        def called_back(self, outcome: Delivery) -> None:
            heard.append(outcome)

    heard: list[Delivery] = []
    async with receiving(answer) as receiver:
        ended_job(tracker, receiver.url)
        await deliver(sender_of(SETTINGS, observer=Listener()), tracker)
    assert heard == [outcome]


async def test_a_proxy_is_told_the_name_and_nothing_is_looked_up_here(
    tracker: JobTracker, sender_of: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROXY_PASSWORD_VARIABLE, "of the proxy")
    async with receiving("200 OK") as proxy:
        address = proxy.url.removesuffix("/hook?x=1").replace("http://", "http://user@")
        settings = SETTINGS.model_copy(update={"proxy": address, "allow_private_addresses": False})
        ended_job(tracker, "http://receiver.invalid/hook", "plain")
        await deliver(sender_of(settings), tracker)
    ((headers, body),) = proxy.requests
    assert proxy.lines == ["POST http://receiver.invalid/hook HTTP/1.1"]
    assert headers["host"] == "receiver.invalid"
    assert headers["proxy-authorization"] == f"Basic {b64encode(b'user:of the proxy').decode()}"
    assert json.loads(body)["job_id"] == "plain"
    assert not tracker.ended.callbacks_due()


async def test_a_proxy_that_refuses_a_tunnel_is_a_failed_delivery(
    tracker: JobTracker, sender_of: Sender, clock: Clock
) -> None:
    async with receiving("407 Not There") as proxy:
        settings = SETTINGS.model_copy(update={"proxy": proxy.url.removesuffix("/hook?x=1")})
        ended_job(tracker, "https://receiver.invalid/hook")
        await deliver(sender_of(settings), tracker)
    assert proxy.lines == ["CONNECT receiver.invalid:443 HTTP/1.1"]
    clock.now += 3
    assert len(tracker.ended.callbacks_due()) == 1


@pytest.mark.parametrize("proxy", ["socks5://proxy:1080", "proxy:3128", "http://", "http://user:word@proxy"])
def test_a_proxy_that_cannot_be_is_refused(proxy: str) -> None:
    with pytest.raises(ValidationError, match=r"webhooks|proxy"):
        WebhookSettings(proxy=proxy)


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


SPECIAL = (*SPECIAL_IPV4, *SPECIAL_IPV6)


@pytest.mark.parametrize("network", SPECIAL, ids=str)
def test_no_address_of_a_special_range_is_public(network: IPv4Network | IPv6Network) -> None:
    for address in (network[0], network[1], network[-1]):
        with pytest.raises(AddressRefusedError):
            public_address(address)


@pytest.mark.parametrize("template", ["::ffff:{}", "::{}", "64:ff9b::{}", "64:ff9b:1::{}", "::ffff:0:{}"])
@pytest.mark.parametrize("inside", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "93.184.216.34"])
def test_no_ipv6_address_that_stands_for_an_ipv4_one_is_public(template: str, inside: str) -> None:
    with pytest.raises(AddressRefusedError):
        public_address(ip_address(template.format(inside)))


@pytest.mark.parametrize(
    "address",
    [
        "255.255.255.255",
        "224.0.0.1",
        "::",
        "::1",
        "100::1",
        "5f00::1",
        "fe80::1",
        "fec0::1",
        "fd00::1",
        "ff02::1",
        "2001::1",
        "2001:10::1",
        "2001:20::1",
        "2002:7f00:1::1",
        "4000::1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    with pytest.raises(AddressRefusedError):
        public_address(ip_address(address))


@given(st.ip_addresses())
def test_nothing_is_public_that_python_knows_to_be_special(address: IPv4Address | IPv6Address) -> None:
    try:
        public_address(address)
    except AddressRefusedError:
        return
    assert address.is_global
    assert not address.is_multicast


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "11.0.0.0", "192.0.1.0", "2606:2800:220:1::1", "2a00:1450::1"]
)
def test_addresses_that_are_public(address: str) -> None:
    assert public_address(ip_address(address)) == ip_address(address)


# What is told of a job that runs


def running_job(tracker: JobTracker, url: str, *events: str, job_id: str = "a-job") -> str:
    """Let a job run whose client is told of these events; return the token of its lease."""
    request = GenerateRequest(callback_url=url, callback_events=events)
    tracker.submit(NewJob(job_id, JobSpec(request, seeds=(1,)), WORK, Client("anna")))
    claim = tracker.claim(f"token of {job_id}")
    assert claim is not None
    return claim.token


def told(receiver: Receiver) -> list[tuple[str, str, str, float]]:
    """Return event, id, status and progress of each request, all of which are signed."""
    found = []
    for headers, body in receiver.requests:
        job = Webhook(webhook_secret(STORE_SECRET, "anna")).verify(body.decode(), headers)
        found.append((headers["webhook-event"], headers["webhook-id"], job["status"], job["progress"]))
    return found


async def test_a_receiver_is_told_of_start_progress_and_end(
    tracker: JobTracker, sender_of: Sender, clock: Clock
) -> None:
    sender = sender_of(SETTINGS)
    async with receiving("200 OK") as receiver:
        token = running_job(tracker, receiver.url, "started", "progress", "finished")
        await deliver(sender, tracker)
        for progress in (0.1, 0.2, 0.3, 0.3):
            tracker.heartbeat("a-job", token, "denoising", progress)
            for _ in range(3):
                clock.now += 2
                await deliver(sender, tracker)
        tracker.finish("a-job", token, {**RESULT}, (), 0)
        await deliver(sender, tracker)
        await deliver(sender, tracker)
    assert told(receiver) == [
        ("started", "a-job.started", "running", 0.0),
        ("progress", "a-job.1.denoising.0.100", "running", 0.1),
        ("progress", "a-job.1.denoising.0.200", "running", 0.2),
        ("progress", "a-job.1.denoising.0.300", "running", 0.3),
        ("finished", "a-job", "succeeded", 1.0),
    ]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((), []),
        (("finished",), ["finished"]),
        (("started",), ["started"]),
        (("progress",), ["progress"]),
        (("progress", "finished"), ["progress", "finished"]),
    ],
)
async def test_only_the_events_that_were_asked_for_are_told(
    tracker: JobTracker, sender_of: Sender, clock: Clock, events: tuple[str, ...], expected: list[str]
) -> None:
    sender = sender_of(SETTINGS)
    async with receiving("200 OK") as receiver:
        token = running_job(tracker, receiver.url, *events)
        tracker.heartbeat("a-job", token, "denoising", 0.5)
        await deliver(sender, tracker)
        clock.now += 60
        await deliver(sender, tracker)
        tracker.finish("a-job", token, {**RESULT}, (), 0)
        await deliver(sender, tracker)
    assert [event for event, *_ in told(receiver)] == expected


async def test_a_start_is_told_again_until_it_arrives_and_progress_is_not(
    tracker: JobTracker, sender_of: Sender, clock: Clock
) -> None:
    sender = sender_of(SETTINGS)
    async with receiving("503 Busy", "200 OK", "503 Busy", "200 OK") as receiver:
        token = running_job(tracker, receiver.url, "started", "progress")
        for step in range(8):
            tracker.heartbeat("a-job", token, "denoising", 0.1 * (step // 2))
            await deliver(sender, tracker)
            clock.now += 3
    ids = [message_id for _, message_id, _, _ in told(receiver)]
    assert ids == ["a-job.started", "a-job.started", "a-job.1.denoising.0.200", "a-job.1.denoising.0.300"]


async def test_the_end_does_not_overtake_progress_that_is_on_its_way(
    tracker: JobTracker, sender_of: Sender
) -> None:
    sender = sender_of(SETTINGS)
    async with receiving("200 OK", delay=0.2) as receiver:
        token = running_job(tracker, receiver.url, "progress", "finished")
        sender.deliver_due(tracker)
        tracker.finish("a-job", token, {**RESULT}, (), 0)
        sender.deliver_due(tracker)
        await sender.wait()
        assert len(receiver.requests) <= 1
        await deliver(sender, tracker)
    assert [event for event, *_ in told(receiver)][-1] == "finished"


async def test_a_delivery_of_an_earlier_end_does_not_take_the_callback_of_a_later_one_away(
    tracker: JobTracker, sender_of: Sender, clock: Clock
) -> None:
    sender = sender_of(SETTINGS)
    async with receiving("200 OK") as receiver:
        token = running_job(tracker, receiver.url, "finished")
        tracker.fail("a-job", token, "It failed.", retryable=False)
        receiver.may_answer.clear()
        sender.deliver_due(tracker)
        await eventually(lambda: bool(receiver.requests))
        tracker.ended.tidied(*tracker.ended.untidy())
        tracker.requeue("a-job")
        clock.now += 1
        assert tracker.claim("another")
        assert tracker.finish("a-job", "another", {**RESULT}, (), 0)
        receiver.may_answer.set()
        await sender.wait()
        await deliver(sender, tracker)
        assert not tracker.ended.callbacks_due()
    assert [status for _, _, status, _ in told(receiver)] == ["failed", "succeeded"]


async def test_a_purged_job_s_end_is_told_without_content(tracker: JobTracker, sender_of: Sender) -> None:
    async with receiving("200 OK") as receiver:
        token = running_job(tracker, receiver.url, "finished")
        tracker.finish("a-job", token, {**RESULT}, (), 0)
        assert tracker.purge("a-job", "anna")
        await deliver(sender_of(SETTINGS), tracker)
    ((headers, body),) = receiver.requests
    job = json.loads(body)
    assert (headers["webhook-id"], job["status"]) == ("a-job", "succeeded")
    assert (job["result"], job["error"]) == (None, None)
    (untidy,) = tracker.ended.untidy()
    tracker.ended.tidied(untidy)
    assert [left.job_id for left in tracker.ended.purged()] == ["a-job"]
