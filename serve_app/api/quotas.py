"""`RateLimit` and `RateLimit-Policy`: how much of its quotas a client has left.

The form is that of draft-ietf-httpapi-ratelimit-headers: lists of structured fields (RFC 9651), each a name
with whole numbers as parameters.
"""

from collections.abc import Iterable

from serve_app.jobs.model import Quota

POLICY, REMAINING = "RateLimit-Policy", "RateLimit"


def quota_headers(quotas: Iterable[Quota]) -> dict[str, str]:
    """Return the two headers; none without quotas."""
    policies, remaining = [], []
    for quota in quotas:
        unit = f';qu="{quota.unit}"' if quota.unit else ""
        policies.append(f'"{quota.name}";q={quota.limit};w={quota.window}{unit}')
        remaining.append(f'"{quota.name}";r={quota.left};t={quota.whole_in}')
    return {POLICY: ", ".join(policies), REMAINING: ", ".join(remaining)} if policies else {}
