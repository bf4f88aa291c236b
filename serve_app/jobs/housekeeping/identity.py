"""The job store that a job belongs to: the store's name is a part of each job id.

Two servers with two stores may share a storage, and a store may be lost and replaced by an empty one. The
name of a folder in the storage then tells its owner, and a server deletes only its own folders.
"""

import hmac
import re
import secrets
import uuid

_PURPOSE = b"acestep store name v1\n"
"""Derives a separate key, because the store's secret has other purposes, too."""
_NAME_BYTES = 6
_RANDOM_BITS = 80
"""Number of bits after the name; RFC 9562 uses six of them for the version and the variant."""
_ID = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def store_name(secret: bytes) -> str:
    """Return twelve hexadecimal digits that identify a store and do not reveal its secret."""
    return hmac.digest(secret, _PURPOSE, "sha256")[:_NAME_BYTES].hex()


def new_job_id(store: str) -> str:
    """Make a job id: a UUID of version 8 (RFC 9562) with the store's name and 74 random bits."""
    bits = int(store, 16) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    bits = bits & ~(0xF << 76) | 8 << 76  # version
    bits = bits & ~(0b11 << 62) | 0b10 << 62  # variant
    return str(uuid.UUID(int=bits))


def store_of(job_id: str) -> str | None:
    """Return the name of a job's store; None for ids of earlier releases, which lack it."""
    match = _ID.fullmatch(job_id)
    return None if match is None else match[1] + match[2]
