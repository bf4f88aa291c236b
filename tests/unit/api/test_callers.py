"""Without API keys, clients are distinguished by address, also behind trusted proxies."""

from ipaddress import ip_network

import pytest
from starlette.requests import Request

from serve_app.api.access.callers import Callers, client_name_of

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def name(peer: str | None, forwarded: tuple[str, ...] = (), trusted: tuple = PROXIES) -> str:
    headers = [(b"x-forwarded-for", hop.encode("latin-1")) for hop in forwarded]
    client = None if peer is None else (peer, 1)
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "client": client}
    return Callers(None, trusted).identify(Request(scope)).client.name


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.5", (), "203.0.113.5"),
        ("203.0.113.5", ("198.51.100.1",), "203.0.113.5"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("6.6.6.6, 198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("6.6.6.6, 198.51.100.1, 10.9.9.9",), "198.51.100.1"),
        ("10.0.0.1", ("6.6.6.6", "198.51.100.1"), "198.51.100.1"),
        ("10.0.0.1", ("10.0.0.2, 10.0.0.3",), "10.0.0.2"),
        ("10.0.0.1", ("198.51.100.1, nonsense",), "unknown"),
        ("10.0.0.1", ("",), "10.0.0.1"),
        ("10.0.0.1", ("\xff" * 100,), "unknown"),
        ("::ffff:203.0.113.5", (), "203.0.113.5"),
        ("2001:db8:1:2:3:4:5:6", (), "2001:db8:1:2::/64"),
        ("fe80::1%eth0", (), "fe80::/64"),
        ("fd00::1", ("2001:db8::7",), "2001:db8::/64"),
        ("testclient", (), "unknown"),
        (None, (), "unknown"),
    ],
)
def test_who_a_client_is(peer: str | None, forwarded: tuple[str, ...], client: str) -> None:
    assert name(peer, forwarded) == client


@pytest.mark.parametrize(
    "host", ["203.0.113.5", "::ffff:203.0.113.5", "2001:db8:1:2:3:4:5:6", "fe80::1%eth0", "nonsense", ""]
)
def test_a_host_is_counted_as_the_client_that_it_is(host: str) -> None:
    assert client_name_of(host) == name(host)


def test_without_trusted_proxies_nobody_speaks_for_another() -> None:
    assert name("10.0.0.1", ("198.51.100.1",), trusted=()) == "10.0.0.1"
