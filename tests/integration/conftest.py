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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return Chromium. It ends with the module, because Playwright holds the event loop of its thread."""
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("chromium is not installed")
    # Chromium's own sandbox does not run as root.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*flags, "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def open_studio(browser: Browser) -> Iterator[OpenStudio]:
    """Return a function that opens the page of a server for a new user. No page may have had troubles."""
    with ExitStack() as opened:
        yield lambda address, **options: opened.enter_context(studio_in(browser, address, **options))
