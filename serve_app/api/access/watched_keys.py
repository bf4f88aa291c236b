"""API keys that are reloaded when their file changes, so that keys can be changed without a restart."""

import logging
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from serve_app.api.access.keys import ApiKey, KeyRing, load_keys, parse_keys, read_keys

logger = logging.getLogger("ray.serve")

LOOK_SECONDS = 0.5
"""Interval between reads of the file. A change takes effect when two reads in a row have found it."""


def _tell_nobody(_outdated: bool) -> None:
    pass


class WatchedKeys:
    """The current keys of the environment and of a file.

    The whole content is compared, because modification time and size can stay the same when one key replaces
    another within a tick of the clock. A change must be found twice, so that a half-written file is not used.
    A file that cannot be read or is invalid changes nothing: the last valid keys stay, and an error is
    logged.
    """

    def __init__(self, file: Path, tell_outdated: Callable[[bool], None] = _tell_nobody) -> None:
        """Read the keys. Raises ValueError where they are invalid.

        `tell_outdated` is called after each read with whether the file's keys are not in use.
        """
        self._file = file
        self._tell_outdated = tell_outdated
        self._keys = load_keys(file)
        self._parsed: str | None = None
        """The text that was parsed last, even if its keys were refused."""
        self._refusal: str | None = None
        """Why the keys of that text are not in use."""
        self._seen: tuple[str | None, str | None] = (None, None)
        """The result of the previous read: the text, or the reason why there is none."""
        self._told: str | None = None

    def watch(self) -> "WatchedKeys":
        """Read the file periodically, on a thread that ends when this object is garbage-collected."""
        threading.Thread(target=_look_on, args=(weakref.ref(self),), name="api-keys", daemon=True).start()
        return self

    def find(self, presented: str) -> ApiKey | None:
        """The entry of a key, by comparisons in constant time."""
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
        """Use the keys of a text from now on. Returns the reason where they are invalid."""
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
        except Exception:  # the thread must go on
            logger.exception("the API keys could not be looked after; trying again")
        del keys
        time.sleep(LOOK_SECONDS)


Keys = KeyRing | WatchedKeys
