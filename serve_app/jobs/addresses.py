"""Which network addresses a server may call on somebody else's behalf."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_Address = IPv4Address | IPv6Address

_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: an IPv4 address is in the last 32 bits."""

_LOOK_UPS = ThreadPoolExecutor(64, thread_name_prefix="dns")
"""Of their own: a name server that hangs must not keep others' names, or the job store, waiting."""


class AddressRefusedError(Exception):
    """A host is, or its name leads to, an address that is not public."""


async def resolved(host: str) -> list[_Address]:
    """The addresses of a host, a name or a literal. Raises OSError where it has none."""
    look_up = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_LOOK_UPS, look_up)
    return list(dict.fromkeys(ip_address(str(address[0]).partition("%")[0]) for *_, address in found))


def public_address(address: _Address) -> _Address:
    """The address itself. Raises AddressRefusedError where it, or an IPv4 one inside it, is not public."""
    if not all(inner.is_global and not inner.is_multicast for inner in _layers(address)):
        raise AddressRefusedError("the address is not public")
    return address


def _layers(address: _Address) -> list[_Address]:
    """The address, and the IPv4 addresses that packets to it may end at."""
    if isinstance(address, IPv4Address):
        return [address]
    if mapped := address.ipv4_mapped:
        return [mapped]
    inner: list[_Address | None] = [address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        inner.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [address, *(one for one in inner if one is not None)]
