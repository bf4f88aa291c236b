"""The studio for those who use a keyboard alone."""

import re

from playwright.sync_api import Page, expect

from tests.live_server import Client
from tests.studio_page import Studio

TABS = 120
"""Presses of the tab key after which a control counts as out of reach."""


def focused(page: Page) -> str:
    """The accessible name of what has the focus, or its text."""
    name: str = page.evaluate(
        """() => {
          const at = document.activeElement;
          return at.getAttribute("aria-label") || at.labels?.[0]?.textContent || at.textContent || "";
        }"""
    )
    return name.strip()


def tab_to(page: Page, name: str) -> None:
    """Press the tab key until a control with this name has the focus, which must be visible."""
    for _ in range(TABS):
        page.keyboard.press("Tab")
        if re.search(name, focused(page)):
            outline = page.evaluate(
                """() => {
                  const style = getComputedStyle(document.activeElement);
                  return style.outlineStyle !== "none" || style.boxShadow !== "none";
                }"""
            )
            assert outline, f"{name} has the focus, and nothing shows it"
            return
    raise AssertionError(f"the tab key does not lead to {name}")


def test_everything_works_with_the_keyboard_alone(studio: Studio, server: Client) -> None:
    page = studio.page
    tab_to(page, "^(Simple|Custom)$")
    page.keyboard.press("ArrowRight")
    if not studio.create.get_by_role("radio", name="Custom").is_checked():
        page.keyboard.press("ArrowRight")
    tab_to(page, "^Caption")
    page.keyboard.type("typed on a keyboard")
    tab_to(page, "^Duration")
    page.keyboard.type("6")
    tab_to(page, "^Number of songs")
    page.keyboard.type("1")
    page.keyboard.press("Enter")
    expect(studio.listen.locator("[data-song]")).to_be_attached()
    job_id = studio.listen.locator("[data-song]").get_attribute("data-song") or ""
    studio.until_playable(job_id)
    tab_to(page, "^Position")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    slider = studio.listen.get_by_role("slider", name="Position")
    expect(slider).to_have_attribute("aria-valuenow", "2")
    assert studio.listen.get_by_label("From", exact=True).input_value() == "2"
    assert studio.listen.get_by_label("To", exact=True).input_value() == "4"
    page.keyboard.press("k")
    expect(studio.listen.get_by_role("button", name="Pause")).to_be_visible()
    page.keyboard.press("k")
    expect(studio.listen.get_by_role("button", name="Play")).to_be_visible()
    tab_to(page, "^Repaint$")
    page.keyboard.press("Enter")
    expect(studio.player(job_id)).to_have_count(0)
    repainted = studio.listen.locator("[data-song]").get_attribute("data-song") or ""
    assert server.wait(repainted)["status"] == "succeeded"
