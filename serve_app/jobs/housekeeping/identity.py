"""Which job store a job belongs to: the store's name is a part of the id of each of its jobs.

Two servers with two stores may share a storage, and one store may be lost and replaced by an empty one. What
lies in the storage then says by its own name whose it is, and a server deletes nothing but its own.
"""

import hmac
import re
import secrets
import uuid

_PURPOSE = b"acestep store name v1\n"
"""The store's secret signs other things, too: each with a key of its own."""
_NAME_BYTES = 6
_RANDOM_BITS = 80
"""Those after the name; RFC 9562 takes six of them for the version and the variant."""
_ID = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def store_name(secret: bytes) -> str:
    """Twelve hexadecimal digits that tell a store from all others, and do not tell its secret."""
    return hmac.digest(secret, _PURPOSE, "sha256")[:_NAME_BYTES].hex()


def new_job_id(store: str) -> str:
    """The id of a new job of a store: a UUID of version 8 (RFC 9562), the store's name and 74 random bits."""
    bits = int(store, 16) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    bits = bits & ~(0xF << 76) | 8 << 76  # version
    bits = bits & ~(0b11 << 62) | 0b10 << 62  # variant
    return str(uuid.UUID(int=bits))


def store_of(job_id: str) -> str | None:
    """The name of the store that a job belongs to; None where an id of an earlier release does not say it."""
    match = _ID.fullmatch(job_id)
    return None if match is None else match[1] + match[2]
