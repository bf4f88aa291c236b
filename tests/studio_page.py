"""The studio in a real browser, as its user sees it: controls by their names, jobs by their ids."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, expect

PATIENCE_MS = 60_000
"""Time for anything that the page does by itself."""
SONG_MS = 240_000
"""Time for a song, on a machine that does other work, too."""
GENERATE = "/v1/music/generate"
REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI, sourceFile, sample }) =>
  reportViolation([violatedDirective, blockedURI, sourceFile, sample].join(" ")));
"""

expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Studio:
    """One tab with the page. `troubles` are errors of its code and violations of its content policy."""

    page: Page
    address: str
    troubles: list[str] = field(default_factory=list)
    submitted: list[dict[str, Any]] = field(default_factory=list)
    """The bodies of all requests for songs that were sent as JSON."""

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("pageerror", lambda error: self.troubles.append(f"uncaught: {error}"))
        self.page.on("console", self._noted)
        self.page.on("request", self._seen)

    def _noted(self, message: ConsoleMessage) -> None:
        # The browser itself reports answers like 401 and lost connections, which tests cause on purpose.
        if message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource"):
            self.troubles.append(f"console: {message.text}")

    def _seen(self, request: Request) -> None:
        if request.method == "POST" and request.url.endswith(GENERATE) and request.post_data:
            try:
                self.submitted.append(json.loads(request.post_data))
            except ValueError:
                self.submitted.append({})

    def go(self, view: str = "#/create") -> None:
        """Load the page at one of its views, and wait until it has met the server."""
        self.page.goto(self.address + view)
        self.ready()

    def ready(self) -> None:
        self.page.wait_for_selector("html[data-ready=true]", state="attached")

    def show(self, view: str) -> None:
        """Show "Create", "Listen" or "Songs", by its link where the window is too narrow for all three."""
        link = self.page.get_by_role("navigation", name="Views").get_by_role("link", name=view)
        if not self.region(view).is_visible():
            link.click()
        expect(self.region(view)).to_be_visible()

    def region(self, name: str) -> Locator:
        return self.page.get_by_role("region", name=name, exact=True)

    @property
    def create(self) -> Locator:
        return self.region("Create")

    @property
    def listen(self) -> Locator:
        return self.region("Listen")

    @property
    def songs(self) -> Locator:
        return self.region("Songs")

    def field(self, name: str) -> Locator:
        """Return the block of a field of the API in the form "Create"."""
        return self.create.locator(f'[data-field="{name}"]')

    def error_of(self, name: str) -> Locator:
        return self.create.locator(f'[data-error-for="{name}"]')

    def custom(self) -> None:
        self.create.get_by_role("radio", name="Custom").check(force=True)

    def fill(self, **values: str) -> None:
        """Type into text and number fields of the form "Create"."""
        for name, value in values.items():
            self.field(name).locator("input, textarea").first.fill(value)

    def make(self) -> str:
        """Press the button that makes the song. Return the job's id."""
        with self.page.expect_response(
            lambda answer: answer.url.endswith(GENERATE) and answer.request.method == "POST"
        ) as answer:
            self.create.locator("button[type=submit]").click()
        return str(_accepted(answer.value)["job_id"])

    def press_and_submit(self, button: Locator, clicks: int = 1) -> str:
        """Press a button that asks for a song. Return the job's id."""
        with self.page.expect_response(
            lambda answer: answer.url.endswith(GENERATE) and answer.request.method == "POST"
        ) as answer:
            button.click(click_count=clicks)
        return str(_accepted(answer.value)["job_id"])

    def player(self, job_id: str) -> Locator:
        return self.listen.locator(f'[data-song="{job_id}"]')

    def row(self, job_id: str) -> Locator:
        return self.songs.locator(f'[data-job="{job_id}"]')

    def open_song(self, job_id: str) -> None:
        """Show a song and wait until it can be played."""
        self.page.evaluate("(hash) => { location.hash = hash }", f"#/song/{job_id}")
        self.until_playable(job_id)

    def until_playable(self, job_id: str) -> None:
        expect(self.player(job_id)).to_have_attribute("data-status", "succeeded", timeout=SONG_MS)
        expect(self.listen.get_by_role("button", name="Play")).to_be_enabled(timeout=SONG_MS)

    def drag_on_waveform(self, start: float, end: float, seconds: float) -> None:
        """Drag the mouse over the waveform of a song of `seconds`, from one second to another.

        The places are found by pressing at both quarters of the waveform, because it may show more time than
        the song has.
        """
        waveform = self.listen.get_by_role("slider", name="Position")
        waveform.scroll_into_view_if_needed()
        box = waveform.bounding_box()
        assert box

        def position_at(share: float) -> float:
            self.page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
            return float(waveform.get_attribute("aria-valuenow") or "nan")

        first, second = position_at(0.3), position_at(0.6)
        per_second = 0.3 * box["width"] / (second - first)
        zero = box["x"] + 0.3 * box["width"] - first * per_second
        assert 0 <= first < second <= seconds
        middle = box["y"] + box["height"] / 2
        self.page.mouse.move(zero + start * per_second, middle)
        self.page.mouse.down()
        self.page.mouse.move(zero + (start + end) / 2 * per_second, middle, steps=4)
        self.page.mouse.move(zero + end * per_second, middle, steps=4)
        self.page.mouse.up()


def _accepted(answer: Any) -> dict[str, Any]:
    assert answer.ok, answer.text()
    accepted: dict[str, Any] = answer.json()
    return accepted


@contextmanager
def studio_in(browser: Browser, address: str, **options: Any) -> Iterator[Studio]:
    """A new user with an empty browser. At the end, the page must have had no troubles."""
    options = {"locale": "en-US", "reduced_motion": "reduce", "accept_downloads": True, **options}
    context = browser.new_context(**options)
    try:
        studio = new_tab(context, address)
        yield studio
        assert studio.troubles == []
    finally:
        context.close()


def new_tab(context: BrowserContext, address: str) -> Studio:
    """Another tab of a user."""
    studio = Studio(context.new_page(), address.rstrip("/") + "/")
    studio.page.expose_function("reportViolation", lambda text: studio.troubles.append(f"policy: {text}"))
    studio.page.add_init_script(REPORT_VIOLATIONS)
    return studio


def seconds_in(text: str) -> float:
    """The first number in a text."""
    match = re.search(r"-?\d+(\.\d+)?", text)
    assert match, text
    return float(match[0])
