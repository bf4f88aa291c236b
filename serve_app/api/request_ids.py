"""The ids by which clients and logs name a request (`X-Request-ID`)."""

import re
import uuid

HEADER = "x-request-id"

_USUAL = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def is_usual(request_id: str) -> bool:
    """Tell whether an id may stand in logs: up to 64 letters, digits and `._:-`."""
    return _USUAL.fullmatch(request_id) is not None


def new_request_id() -> str:
    """Return the id of a request that brought none."""
    return str(uuid.uuid4())
