"""The parts of a running server that others can reach: the API, and nothing of Ray without the token."""

import stat
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import grpc
import httpx
import psutil
import pytest

from tests.live_server import Client


def family(server: Client) -> Iterator[psutil.Process]:
    root = psutil.Process(server.pid)
    yield from (root, *root.children(recursive=True))


def listening(process: psutil.Process) -> list[tuple[str, int]]:
    """Return the addresses and ports on which a process listens."""
    try:
        connections = process.net_connections("inet")
    except psutil.NoSuchProcess:
        return []
    return [tuple(found.laddr) for found in connections if found.status == psutil.CONN_LISTEN]


def is_loopback(address: str) -> bool:
    parsed = ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def test_all_but_the_replicas_inner_ports_are_on_the_loopback_address_and_those_ask_for_the_token(
    server: Client,
) -> None:
    sockets = {address: process for process in family(server) for address in listening(process)}
    assert len(sockets) > 5
    others = {port: process for (host, port), process in sockets.items() if not is_loopback(host)}
    assert {process.name()[:17] for process in others.values()} <= {"ray::ServeReplica"}
    for port in others:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
            with pytest.raises(grpc.RpcError) as refusal:
                call(b"", timeout=10)
        assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


def dashboard(server: Client) -> str:
    """Return the URL of the dashboard, through which applications are deployed."""
    for process in family(server):
        if any(word.endswith("dashboard/dashboard.py") for word in process.cmdline()):
            for host, port in listening(process):
                url = f"http://{host}:{port}"
                try:
                    page = httpx.get(url)
                except httpx.HTTPError:  # This is its gRPC port.
                    continue
                # The port of its own metrics is not meant.
                if "text/html" in page.headers.get("content-type", ""):
                    return url
    raise AssertionError("no dashboard runs")


def test_nobody_deploys_or_lists_anything_without_the_token(server: Client) -> None:
    url = dashboard(server)
    deploy = httpx.put(f"{url}/api/serve/applications/", json={"applications": []})
    assert deploy.status_code == httpx.codes.UNAUTHORIZED
    for path in ("/api/serve/applications/", "/api/jobs/", "/nodes?view=summary"):
        assert httpx.get(url + path).status_code == httpx.codes.UNAUTHORIZED, path
    assert server.http.get("/health").status_code == httpx.codes.OK


def test_the_owner_of_the_token_may(server: Client) -> None:
    token = Path.home() / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    headers = {"Authorization": f"Bearer {token.read_text()}"}
    answer = httpx.get(f"{dashboard(server)}/api/serve/applications/", headers=headers)
    assert "acestep" in answer.raise_for_status().json()["applications"]


def test_the_token_is_on_no_command_line_and_in_no_log(server: Client) -> None:
    token = (Path.home() / ".ray" / "auth_token").read_text()
    assert not [process for process in family(server) if any(token in word for word in process.cmdline())]
    log = server.audio_in.parent / "serve.log"
    assert token not in log.read_text(errors="replace")


@pytest.mark.parametrize(
    "path", ["/health", "/v1/models", "/v1/jobs/nonsense", "/v1/audio/x/0.mp3", "/nothing"]
)
def test_browsers_guess_no_types(server: Client, path: str) -> None:
    answer = server.http.get(path, headers={"Origin": "https://elsewhere.example"})
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_pages_from_elsewhere_submit_nothing(server: Client) -> None:
    before = server.http.get("/v1/jobs").json()
    answer = server.http.post(
        "/v1/music/generate",
        content='{"audio_duration": 1}',
        headers={"Origin": "https://elsewhere.example", "Content-Type": "text/plain"},
    )
    assert answer.status_code == httpx.codes.FORBIDDEN
    assert server.http.get("/v1/jobs").json()["jobs"][:1] == before["jobs"][:1]


@pytest.mark.parametrize(
    "order",
    [{"X-Request-Timeout-Seconds": "0.000001"}, {"X-Request-ID": "x" * 1_000}, {"X-Session-Id": "a"}],
    ids=lambda order: next(iter(order)),
)
def test_nobody_gives_orders_to_serve(server: Client, order: dict[str, str]) -> None:
    answer = server.http.get("/v1/stats", headers=order)
    assert answer.status_code == httpx.codes.OK
    assert len(answer.headers["x-request-id"]) <= 64


def test_a_request_id_of_the_usual_kind_comes_back(server: Client) -> None:
    answer = server.http.get("/health", headers={"X-Request-ID": "load-balancer-1"})
    assert answer.headers["x-request-id"] == "load-balancer-1"


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_load_balancers_may_ask_with_head(server: Client, path: str) -> None:
    answer = server.http.head(path)
    assert (answer.status_code, answer.content) == (httpx.codes.OK, b"")
