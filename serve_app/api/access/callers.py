"""Who asks: the owner of an API key, or, on a server without keys, a network address."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from fastapi import HTTPException
from starlette.requests import Request

from configs.settings import ApiSettings
from serve_app.api.access.keys import load_keys
from serve_app.api.access.watched_keys import Keys, WatchedKeys
from serve_app.jobs.model import Client, JobView

IPV6_CLIENT_BITS = 64
"""Whoever has one IPv6 address has all with the same first 64 bits."""
UNKNOWN_ADDRESS = "unknown"

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request, and what the sender may do."""

    client: Client
    max_priority: int = 0
    sees_all: bool = False
    """On a server without keys a job is known to all who know its id."""

    def may_see(self, view: JobView) -> bool:
        return self.sees_all or view.client == self.client.name


class Callers:
    """Tells who sent a request."""

    def __init__(self, keys: Keys | None, trusted_proxies: Sequence[_Network] = ()) -> None:
        self._keys = keys
        self._trusted_proxies = trusted_proxies

    @classmethod
    def of(cls, settings: ApiSettings, tell_outdated: Callable[[bool], None]) -> "Callers":
        """`tell_outdated` hears twice a second whether the keys of `api.keys_file` are not those in use.

        Raises ValueError where the keys are not what they should be.
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
        """`identify` as a dependency of routes: FastAPI would call what is not async on another thread."""
        return self.identify(request)

    def identify(self, request: Request) -> Caller:
        """The sender of a request. Raises HTTPException with 401 where a key is needed."""
        if self._keys is None:
            return Caller(Client(self._address(request)), sees_all=True)
        presented = _presented_key(request)
        key = self._keys.find(presented) if presented else None
        if key is None:
            problem = "This API key is unknown" if presented else "An API key is needed"
            raise HTTPException(
                401,
                f"{problem}: send `Authorization: Bearer KEY` or `X-API-Key: KEY`",
                {"WWW-Authenticate": "Bearer"},
            )
        return Caller(Client(key.name, key.weight), key.max_priority)

    def still_know(self, request: Request) -> bool:
        """Whether a request that was let in would be again: its key may have been removed meanwhile."""
        try:
            self.identify(request)
        except HTTPException:
            return False
        return True

    def _address(self, request: Request) -> str:
        # From the server outwards: the first address that is no proxy of ours is the client's.
        hops = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
        address = _parsed(request.client.host if request.client else "")
        while address is not None and hops and any(address in network for network in self._trusted_proxies):
            hop = hops.pop().strip()
            address = _parsed(hop) if hop else address
        return UNKNOWN_ADDRESS if address is None else _client_name(address)


def _presented_key(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    return request.headers.get("x-api-key", "").strip()


def _parsed(text: str) -> _Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _client_name(address: _Address) -> str:
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, IPV6_CLIENT_BITS), strict=False))
    return str(address)
