"""API keys that follow their file, so that an operator gives and takes keys while the server runs."""

import logging
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from serve_app.api.access.keys import ApiKey, KeyRing, load_keys, parse_keys, read_keys

logger = logging.getLogger("ray.serve")

LOOK_SECONDS = 0.5
"""How often the file is read. A change counts once two looks in a row have found it: after a second or so."""


def _tell_nobody(_outdated: bool) -> None:
    pass


class WatchedKeys:
    """The keys of the environment and of a file, as they stand now.

    The whole file is compared, because times and sizes stay the same where one key takes another's place
    within a tick of the clock. A change must be found twice, so that no half-written file counts. A file that
    cannot be read, or that no server could start with, changes nothing: the last good keys stay, and an error
    is logged.
    """

    def __init__(self, file: Path, tell_outdated: Callable[[bool], None] = _tell_nobody) -> None:
        """Read the keys; `tell_outdated` hears after each look whether the file's keys are not in use.

        Raises ValueError where the keys are not what they should be.
        """
        self._file = file
        self._tell_outdated = tell_outdated
        self._keys = load_keys(file)
        self._parsed: str | None = None
        """The text that was parsed last, whether or not its keys are in use."""
        self._refusal: str | None = None
        """Why the keys of that text are not in use."""
        self._seen: tuple[str | None, str | None] = (None, None)
        """What the look before this one found: the text, or why there is none."""
        self._told: str | None = None

    def watch(self) -> "WatchedKeys":
        """Look again and again, on a thread that ends when nobody uses these keys any more."""
        threading.Thread(target=_look_on, args=(weakref.ref(self),), name="api-keys", daemon=True).start()
        return self

    def find(self, presented: str) -> ApiKey | None:
        """The entry of a key, in a time that tells nothing about the keys."""
        return None if self._keys is None else self._keys.find(presented)

    def look(self) -> None:
        """Read the file once."""
        text, unread = None, None
        try:
            text = read_keys(self._file)
        except ValueError as error:
            unread = str(error)
        settled, self._seen = self._seen == (text, unread), (text, unread)
        if not settled:
            return
        if text is not None and text != self._parsed:
            self._parsed = text
            self._refusal = self._take(text)
        self._tell(unread or self._refusal)

    def _take(self, text: str) -> str | None:
        """Use the keys of a text from now on; why that cannot be."""
        try:
            self._keys = parse_keys(self._file, text)
        except ValueError as error:
            return str(error)
        return None

    def _tell(self, problem: str | None) -> None:
        if problem is not None and problem != self._told:
            logger.error("the API keys stay as they were: %s", problem, extra={"event": "api_keys_outdated"})
        elif problem is None and self._told is not None:
            logger.info("the API keys are those of %s again", self._file, extra={"event": "api_keys_read"})
        self._told = problem
        self._tell_outdated(problem is not None)


def _look_on(reference: "weakref.ref[WatchedKeys]") -> None:
    while (keys := reference()) is not None:
        try:
            keys.look()
        except Exception:  # whatever it is, the next look is needed
            logger.exception("the API keys could not be looked after; trying again")
        del keys
        time.sleep(LOOK_SECONDS)


Keys = KeyRing | WatchedKeys
