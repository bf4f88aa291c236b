"""The network addresses that the server may call for a client (protection against SSRF)."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_Address = IPv4Address | IPv6Address

SPECIAL_IPV4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # "this network"
            "10.0.0.0/8",  # private use
            "100.64.0.0/10",  # shared address space of providers
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link local, and the metadata services of clouds
            "172.16.0.0/12",  # private use
            "192.0.0.0/24",  # IETF protocol assignments
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # automatic multicast tunnelling
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",  # private use
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarking
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
"""All of IANA's registry of special-purpose IPv4 addresses, and multicast."""

GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All IPv6 addresses that IANA allocates. The prefixes for mapped and translated IPv4 lie outside."""

SPECIAL_IPV6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # IETF protocol assignments: Teredo, ORCHID, benchmarking, AS112 and others
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: packets end at the IPv4 address inside
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)
"""The part of IANA's registry of special-purpose IPv6 addresses that lies in GLOBAL_UNICAST."""

_LOOK_UPS = ThreadPoolExecutor(64, thread_name_prefix="dns")
"""A separate thread pool, so that a name server that hangs delays neither other look-ups nor the job
store."""


class AddressRefusedError(Exception):
    """The host is, or resolves to, an address that is not public."""


async def resolved(host: str) -> list[_Address]:
    """The addresses of a host name or address literal. Raises OSError where there are none."""
    look_up = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_LOOK_UPS, look_up)
    return list(dict.fromkeys(ip_address(str(address[0]).partition("%")[0]) for *_, address in found))


def public_address(address: _Address) -> _Address:
    """The address itself. Raises AddressRefusedError where it is not public.

    IANA's lists are copied here because Python's `is_global` counts some special ranges as public, and some
    of them only in some versions.
    """
    if isinstance(address, IPv4Address):
        is_public = not any(address in network for network in SPECIAL_IPV4)
    else:
        is_public = address in GLOBAL_UNICAST and not any(address in network for network in SPECIAL_IPV6)
    if not is_public:
        raise AddressRefusedError("the address is not public")
    return address
