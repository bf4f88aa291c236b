"""How the studio looks and how fast it is: accessibility, pictures of every view, figures of a cold start.

Where STUDIO_PICTURES names a folder the pictures are kept there, otherwise in pytest's temporary one.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.integration.conftest import OpenStudio
from tests.live_server import Client
from tests.studio_page import Studio, studio_in

WIDTHS = {"phone": (360, 740), "laptop": (1280, 800), "wall": (2560, 1440)}
THEMES = ("light", "dark")
SIZE_LIMIT = 250_000
"""Bytes of everything that a cold start loads, compressed, without songs."""
LONG_TASK_MS = 100
WATCH_LONG_TASKS = """
globalThis.longTasks = [];
new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((task) => task.duration)))
  .observe({ type: "longtask", buffered: true });
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("STUDIO_PICTURES") or tmp_path_factory.mktemp("pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def song(server: Client) -> str:
    """Return a song with words, in two takes, to be looked at."""
    job_id = server.submit(
        caption="warm lo-fi house, dusty drums, Rhodes piano, no hurry",
        lyrics="[Verse]\nThe last tram sings along the rails\n[Chorus]\nGo home, go home",
        audio_duration=20,
        batch_size=2,
        use_random_seed=False,
        seed=7,
    )
    assert server.wait(job_id)["status"] == "succeeded"
    return job_id


@pytest.fixture(scope="module", params=THEMES)
def themed(request: pytest.FixtureRequest, browser: Browser, server: Client) -> Iterator[Studio]:
    """Return the page in one theme."""
    with studio_in(browser, str(server.http.base_url), color_scheme=request.param) as studio:
        studio.go("#/create")
        studio.page.evaluate("(theme) => { document.documentElement.dataset.shown = theme }", request.param)
        yield studio


def views(studio: Studio, song: str) -> Iterator[str]:
    """Show every view, one after the other."""
    page = studio.page
    page.evaluate("() => { location.hash = '#/create' }")
    studio.create.get_by_role("radio", name="Simple").check(force=True)
    yield "create-simple"
    studio.custom()
    yield "create-custom"
    for fold in studio.create.locator("details").all():
        fold.evaluate("(details) => { details.open = true }")
    yield "create-advanced"
    for fold in studio.create.locator("details").all():
        fold.evaluate("(details) => { details.open = false }")
    studio.open_song(song)
    studio.listen.get_by_label("From", exact=True).fill("4")
    studio.listen.get_by_label("To", exact=True).fill("9")
    studio.listen.get_by_label("To", exact=True).press("Enter")
    yield "listen"
    studio.listen.get_by_role("button", name="Spectrogram").click()
    studio.listen.get_by_role("radio", name="Again", exact=True).check(force=True)
    yield "listen-spectrogram"
    studio.listen.get_by_role("button", name="Spectrogram").click()
    studio.listen.get_by_role("radio", name="Repaint or extend").check(force=True)
    page.evaluate("() => { location.hash = '#/songs' }")
    yield "songs"
    page.get_by_role("button", name="Keyboard").click()
    yield "keyboard"
    page.keyboard.press("Escape")


def test_no_view_has_a_barrier(themed: Studio, song: str) -> None:
    found = {}
    # The narrow page shows one view at a time, the wide one all of them.
    for width, height in (WIDTHS["phone"], WIDTHS["laptop"]):
        themed.page.set_viewport_size({"width": width, "height": height})
        for view in views(themed, song):
            results = Axe().run(themed.page, options={"resultTypes": ["violations"]})
            if results.violations_count:
                found[view, width] = results.generate_report()
    assert not found, "\n".join(map(str, found.items()))


def test_every_view_is_photographed(themed: Studio, song: str, pictures: Path) -> None:
    theme = themed.page.evaluate("() => document.documentElement.dataset.shown")
    for name, (width, height) in WIDTHS.items():
        themed.page.set_viewport_size({"width": width, "height": height})
        for view in views(themed, song):
            themed.page.screenshot(path=pictures / f"{view}-{name}-{theme}.png")
            overflow = themed.page.evaluate(
                "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert overflow <= 0, f"{view} is {overflow} pixels wider than a {name}"
    assert len(list(pictures.glob(f"*-{theme}.png"))) == 7 * len(WIDTHS)


def test_a_start_is_small_and_quick(browser: Browser, server: Client) -> None:
    with studio_in(browser, str(server.http.base_url)) as studio:
        sizes = []
        session = studio.page.context.new_cdp_session(studio.page)
        session.send("Network.enable")
        session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        studio.go()
        ready = studio.page.evaluate("() => performance.now()")
        paint = studio.page.evaluate(
            "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"
        )
        print(
            f"\ncold start: {sum(sizes):,} bytes, painted after {paint:.0f} ms, usable after {ready:.0f} ms"
        )
        elsewhere = studio.page.evaluate(
            "() => performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin)"
        )
        assert set(elsewhere) == {str(server.http.base_url).rstrip("/")}
        assert sum(sizes) <= SIZE_LIMIT


def test_twenty_jobs_do_not_make_the_page_slow(open_studio: OpenStudio, server: Client) -> None:
    """Times of the page's own work are compared with those of the same page at rest, on the same machine."""
    jobs = [server.submit(caption=f"song {number}", audio_duration=20, batch_size=1) for number in range(20)]
    studio = open_studio(str(server.http.base_url))
    studio.page.add_init_script(WATCH_LONG_TASKS)
    session = studio.page.context.new_cdp_session(studio.page)
    session.send("Performance.enable")

    def busy() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))

    studio.go("#/songs")
    expect(studio.row(jobs[-1]).first).to_be_attached()
    studio.page.evaluate("() => { longTasks.length = 0 }")
    before = busy()
    studio.page.wait_for_timeout(5_000)
    tasks = studio.page.evaluate("() => longTasks")
    share = (busy() - before) / 5
    server.cancel_all()
    print(f"\ntwenty jobs: the page works {share:.1%} of the time; its long tasks: {tasks} ms")
    assert share < 0.5
