"""Users of the studio: their keys, what they see of each other, and those who use a keyboard alone."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.integration.conftest import OpenStudio
from tests.live_server import Client, GuardedServer
from tests.reverse_proxy import reverse_proxy
from tests.studio_page import Studio, new_tab

LONG = {"caption": "a song of Bob's", "audio_duration": 10, "batch_size": 1}
TABS = 120
"""Presses of the tab key after which a control counts as out of reach."""


def key_of(client: Client) -> str:
    return client.http.headers["Authorization"].removeprefix("Bearer ")


def enter_key(studio: Studio, key: str) -> None:
    dialog = studio.page.get_by_role("dialog", name="API key")
    dialog.get_by_label("API key", exact=True).fill(key)
    dialog.get_by_role("button", name="Use this key").click()


def test_the_page_asks_for_a_key_once_and_forgets_it_with_the_tab(
    open_studio: OpenStudio, guarded: GuardedServer
) -> None:
    studio = open_studio(str(guarded.anonymous.base_url))
    studio.page.goto(studio.address)
    enter_key(studio, "acestep-wrong")
    expect(studio.page.get_by_role("dialog").get_by_role("alert")).to_contain_text("does not know this key")
    enter_key(studio, key_of(guarded.alice))
    studio.ready()
    studio.page.reload()
    studio.ready()
    expect(studio.page.get_by_role("dialog")).to_have_count(0)
    kept = "() => JSON.stringify({ ...localStorage }) + document.cookie + location.href"
    stored = studio.page.evaluate(kept)
    assert key_of(guarded.alice) not in stored
    other_tab = new_tab(studio.page.context, studio.address)
    other_tab.page.goto(other_tab.address)
    expect(other_tab.page.get_by_role("dialog", name="API key")).to_be_visible()
    assert other_tab.troubles == []


@pytest.mark.slow
def test_two_users_do_not_see_each_other(open_studio: OpenStudio, guarded: GuardedServer) -> None:
    bobs = guarded.bob.submit(**LONG)
    assert guarded.bob.wait(bobs)["status"] == "succeeded"
    users = {}
    for name in ("alice", "bob"):
        studio = open_studio(str(guarded.anonymous.base_url))
        studio.page.goto(studio.address + "#/songs")
        enter_key(studio, key_of(getattr(guarded, name)))
        studio.ready()
        users[name] = studio
    expect(users["bob"].row(bobs).first).to_be_attached()
    alice = users["alice"]
    alice.custom()
    alice.fill(caption="a song of Alice's", audio_duration="5", batch_size="1")
    made = alice.make()
    alice.until_playable(made)  # by a URL with a token, because a player sends no key
    expect(alice.row(made).first).to_be_attached()
    expect(alice.row(bobs)).to_have_count(0)
    users["bob"].page.reload()
    users["bob"].ready()
    expect(users["bob"].row(bobs).first).to_be_attached()
    expect(users["bob"].row(made)).to_have_count(0)
    alice.page.evaluate("(hash) => { location.hash = hash }", f"#/song/{bobs}")
    expect(alice.listen.get_by_text("This song is not on the server")).to_be_visible()
    # The next user of the same tab sees nothing of hers.
    alice.page.get_by_role("button", name="API key").click()
    alice.page.get_by_role("button", name="Forget the key").click()
    enter_key(alice, key_of(guarded.bob))
    alice.ready()
    expect(alice.row(bobs).first).to_be_attached()
    expect(alice.row(made)).to_have_count(0)
    expect(alice.page.get_by_text("a song of Alice's")).to_have_count(0)


@pytest.mark.slow
def test_behind_tls_and_under_a_prefix_songs_are_made_and_heard(
    open_studio: OpenStudio, guarded: GuardedServer
) -> None:
    with reverse_proxy(str(guarded.anonymous.base_url), "/studios/music", tls=True) as proxy:
        studio = open_studio(proxy.url, ignore_https_errors=True)
        studio.page.goto(studio.address)
        enter_key(studio, key_of(guarded.alice))
        studio.ready()
        studio.custom()
        studio.fill(caption="behind TLS", audio_duration="5", batch_size="1")
        studio.until_playable(studio.make())


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


@pytest.mark.slow
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
