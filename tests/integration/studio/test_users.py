"""Users of the studio: their keys, and what they see of each other."""

import pytest
from playwright.sync_api import Route, expect

from tests.integration.conftest import OpenStudio
from tests.live_server import Client, GuardedServer
from tests.reverse_proxy import reverse_proxy
from tests.studio_page import Studio, new_tab

SONG = {"caption": "a song of Bob's", "audio_duration": 5, "batch_size": 1}


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
    # While the server does not answer, the key can be changed, too.
    studio.page.route("**/v1/models", lambda route: route.abort())
    studio.page.goto(studio.address)
    studio.page.get_by_role("button", name="Change the API key").click()
    studio.page.unroute("**/v1/models")
    problem = studio.page.get_by_role("dialog").get_by_role("alert")
    enter_key(studio, "acestep-ключ")
    expect(problem).to_contain_text("characters that no key has")
    enter_key(studio, "acestep-wrong")
    expect(problem).to_contain_text("does not know this key")
    enter_key(studio, f"\u200b{key_of(guarded.alice)}\u200b")  # as copied from a web page
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


def test_two_users_do_not_see_each_other(open_studio: OpenStudio, guarded: GuardedServer) -> None:
    bobs = guarded.bob.submit(**SONG)

    def opened(key: str) -> Studio:
        studio = open_studio(str(guarded.anonymous.base_url))
        studio.page.goto(studio.address + "#/songs")
        enter_key(studio, key)
        studio.ready()
        return studio

    alice = opened(key_of(guarded.alice))
    alice.custom()
    alice.fill(caption="a song of Alice's", audio_duration="5", batch_size="1")
    made = alice.make()
    assert guarded.bob.wait(bobs)["status"] == "succeeded"
    alice.until_playable(made)  # by a URL with a token, because a player sends no key
    expect(alice.row(made).first).to_be_attached()
    expect(alice.row(bobs)).to_have_count(0)
    bob = opened(key_of(guarded.bob))
    expect(bob.row(bobs).first).to_be_attached()
    expect(bob.row(made)).to_have_count(0)
    asked: list[Route] = []
    alice.page.route(f"**/v1/jobs/{bobs}", lambda route: asked.append(route))
    alice.page.evaluate("(hash) => { location.hash = hash }", f"#/song/{bobs}")
    expect(alice.listen.locator(".status-text")).to_have_text("Loading …")
    asked.pop().continue_()
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
