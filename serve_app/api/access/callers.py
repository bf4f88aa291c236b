"""Identification of callers by API key, or by network address on a server without keys."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from fastapi import HTTPException
from starlette.requests import Request

from configs.settings import ApiSettings
from serve_app.api.access.keys import load_keys
from serve_app.api.access.watched_keys import Keys, WatchedKeys
from serve_app.jobs.model import Client, JobView

IPV6_CLIENT_BITS = 64
"""Addresses with the same prefix count as one client, because a host usually has a whole /64."""
UNKNOWN_ADDRESS = "unknown"
LONGEST_ADDRESS = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Caller:
    """The sender of a request and its permissions."""

    client: Client
    max_priority: int = 0
    sees_all: bool = False
    """True on a server without keys, where everyone who knows a job's id may see it."""

    def may_see(self, view: JobView) -> bool:
        return self.sees_all or view.client == self.client.name


class Callers:
    """Identifies the senders of requests."""

    def __init__(self, keys: Keys | None, trusted_proxies: Sequence[_Network] = ()) -> None:
        self._keys = keys
        self._trusted_proxies = trusted_proxies

    @classmethod
    def of(cls, settings: ApiSettings, tell_outdated: Callable[[bool], None]) -> "Callers":
        """Callers by the settings. Raises ValueError where the keys are invalid.

        `tell_outdated` is called twice a second with whether the keys in use differ from `api.keys_file`.
        """
        keys: Keys | None
        if settings.keys_file is None:
            keys = load_keys(None)
        else:
            keys = WatchedKeys(settings.keys_file, tell_outdated).watch()
        return cls(keys, settings.trusted_proxies)

    @property
    def need_keys(self) -> bool:
        return self._keys is not None

    async def __call__(self, request: Request) -> Caller:
        """`identify` as a route dependency. It is async because FastAPI would run a sync one on a thread."""
        return self.identify(request)

    def identify(self, request: Request) -> Caller:
        """The sender of a request. Raises HTTPException with 401 where a key is needed."""
        presented = _presented_key(request)
        caller = self.recognise(request, [presented])
        if caller is None:
            problem = "This API key is unknown" if presented else "An API key is needed"
            raise no_key(f"{problem}: send `Authorization: Bearer KEY` or `X-API-Key: KEY`")
        return caller

    def recognise(self, request: Request, presented: Iterable[str]) -> Caller | None:
        """The sender of a request by the first of the presented keys that is known; None without any.

        On a server without keys everybody is known, by their address.
        """
        if self._keys is None:
            return Caller(Client(self.address(request)), sees_all=True)
        found = (self._keys.find(key) for key in presented if key)
        key = next((key for key in found if key is not None), None)
        if key is None:
            return None
        return Caller(Client(key.name, key.weight, key.audio_seconds_per_day), key.max_priority)

    def still_know(self, request: Request) -> bool:
        """Whether a request is still authorised; its key may have been removed meanwhile."""
        try:
            self.identify(request)
        except HTTPException:
            return False
        return True

    def address(self, request: Request) -> str:
        """The network address of the sender, as the name of a client."""
        # Going from the server outwards, the first address that is not a trusted proxy is the client's.
        hops = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
        address = _parsed(request.client.host if request.client else "")
        while address is not None and hops and any(address in network for network in self._trusted_proxies):
            hop = hops.pop().strip()
            address = _parsed(hop) if hop else address
        return UNKNOWN_ADDRESS if address is None else _client_name(address)


def no_key(message: str) -> HTTPException:
    """The refusal (401) of a request without a valid key."""
    return HTTPException(401, message, {"WWW-Authenticate": "Bearer"})


def _presented_key(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    return request.headers.get("x-api-key", "").strip()


def _parsed(text: str) -> _Address | None:
    """The address in a text, without its zone; None if there is none."""
    address, _, _zone = text.partition("%")
    return _parsed_address(address) if len(address) <= LONGEST_ADDRESS else None


@lru_cache(1024)  # Clients that poll present the same address each time.
def _parsed_address(text: str) -> _Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def client_name_of(host: str) -> str:
    """Return the client that a host is counted as: the addresses of one IPv6 customer are one client."""
    address = _parsed(host)
    return UNKNOWN_ADDRESS if address is None else _client_name(address)


def _client_name(address: _Address) -> str:
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, IPV6_CLIENT_BITS), strict=False))
    return str(address)
