"""How long the client goes on trying while a server restarts, is too busy or cannot be reached."""

import logging
import random
from dataclasses import dataclass
from time import monotonic

from acestep_client.errors import AcestepError

logger = logging.getLogger("acestep_client")


@dataclass(frozen=True)
class Retries:
    """The rules by which requests are repeated. Every request of the client can be repeated safely."""

    patience_seconds: float = 120.0
    """The longest time from the first failure to the last attempt. 0 repeats nothing."""
    first_pause_seconds: float = 0.5
    """The pause before the first repetition. It doubles from one to the next."""
    longest_pause_seconds: float = 15.0

    def begin(self) -> "Attempts":
        """Return the attempts of one call."""
        return Attempts(self)


class Attempts:
    """The attempts of one call."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._failures = 0
        self._first_failure = 0.0

    def succeeded(self) -> None:
        """Forget earlier failures, because the server answers again."""
        self._failures = 0

    def pause_after(self, error: AcestepError) -> float:
        """Return the seconds until the next attempt. Raises the error itself where none should follow.

        The pause is the server's `Retry-After`, or grows exponentially with a random part, by which the
        clients of a server that was away do not all come back at once.
        """
        now = monotonic()
        if not self._failures:
            self._first_failure = now
        doubled = self._retries.first_pause_seconds * 2.0 ** min(self._failures, 10)
        backoff = min(doubled, self._retries.longest_pause_seconds) * random.uniform(0.5, 1.0)
        pause = max(backoff, error.retry_after or 0.0)
        if not error.is_passing or now + pause - self._first_failure > self._retries.patience_seconds:
            raise error
        self._failures += 1
        logger.info("%s; trying again in %.1f s", error, pause)
        return pause
