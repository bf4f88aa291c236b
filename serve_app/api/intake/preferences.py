"""The preference `wait` of the header `Prefer` (RFC 7240)."""

import re
from collections.abc import Iterable
from typing import Annotated

from fastapi import Header

MAX_WAIT_SECONDS = 60
"""The longest wait for a result; longer ones are shortened to it, and the answer says so."""

PreferHeader = Annotated[
    list[str] | None,
    Header(
        alias="Prefer",
        description="`wait=N` (RFC 7240): answer with a poll of the job when it has ended, after N seconds "
        f"at the latest; more than {MAX_WAIT_SECONDS} count as {MAX_WAIT_SECONDS}. The answer then has "
        "`Preference-Applied`.",
    ),
]

_PREFERENCES = re.compile(r'(?:[^",]++|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z))+', re.DOTALL)
"""The preferences between commas outside quotes. A quote without an end goes to the end of the header.

Every character is read once: nothing is given back, and no quote is looked for twice.
"""
_WAIT = re.compile(r'\s*wait\s*=\s*(?:"([0-9]{1,9})"|([0-9]{1,9}))\s*(?:;.*)?', re.IGNORECASE | re.DOTALL)


def preferred_wait(headers: Iterable[str] | None) -> int | None:
    """Return the seconds that a client is willing to wait; None where it does not say so.

    The first `wait` counts, as RFC 7240 (section 2) asks. What is not understood is ignored.
    """
    for header in headers or ():
        for preference in _PREFERENCES.findall(header):
            if found := _WAIT.fullmatch(preference):
                return min(int(found[1] or found[2]), MAX_WAIT_SECONDS)
    return None
