"""The system's Chromium, and users of the studio in it."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.studio_page import Studio, studio_in

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

OpenStudio = Callable[..., Studio]


class _Chromium:
    """The system's Chromium, which runs from its first user to its last one in a row."""

    def __init__(self) -> None:
        self._running = ExitStack()
        self._browser: Browser | None = None

    def browser(self) -> Browser:
        """Start it unless it runs."""
        if self._browser is None:
            path = next(filter(None, map(shutil.which, CHROMIUM)), None)
            if path is None:
                pytest.skip("chromium is not installed")
            # Chromium's own sandbox does not run as root.
            flags = ["--no-sandbox"] if os.geteuid() == 0 else []
            chromium = self._running.enter_context(sync_playwright()).chromium
            self._browser = chromium.launch(executable_path=path, args=[*flags, "--disable-dev-shm-usage"])
            self._running.callback(self._browser.close)
        return self._browser

    def stop(self) -> None:
        self._browser = None
        self._running.close()


_chromium = _Chromium()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Stop Chromium unless the next test uses it, because Playwright holds the event loop of its thread."""
    if "browser" not in getattr(nextitem, "fixturenames", ()):
        _chromium.stop()


@pytest.fixture
def browser() -> Browser:
    """Return Chromium, which tests in a row share."""
    return _chromium.browser()


@pytest.fixture
def open_studio(browser: Browser) -> Iterator[OpenStudio]:
    """Return a function that opens the page of a server for a new user. No page may have had troubles."""
    with ExitStack() as opened:
        yield lambda address, **options: opened.enter_context(studio_in(browser, address, **options))
