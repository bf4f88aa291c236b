"""A user of the studio makes songs: from one sentence, with every field, and with mistakes."""

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.live_server import Client
from tests.studio_page import PATIENCE_MS, Studio

SENTENCE = "A slow waltz about the last tram home"
NOT_SHOWN = {"sample_mode", "sample_query", "use_random_seed"}
"""Fields that the mode, the sentence and the seed stand for; and that with a control of its own below."""
ONLY_WITH_A_SOURCE = {
    "src_audio_path",
    "reference_audio_path",
    "task_type",
    "output",
    "track_name",
    "track_classes",
    "flow_edit_morph",
    "flow_edit_source_caption",
    "flow_edit_source_lyrics",
    "flow_edit_n_min",
    "flow_edit_n_max",
    "flow_edit_n_avg",
}
"""Fields that ask for a recording. The tests of changes use some of them."""
VALUES: dict[str, Any] = {
    "caption": "warm lo-fi house",
    "lyrics": "[Verse]\nHello world",
    "vocal_language": "de",
    "audio_duration": "5",
    "bpm": "97",
    "key_scale": "D minor",
    "time_signature": "3/4",
    "batch_size": "2",
    "seed": "41",
    "audio_format": "wav",
    "thinking": True,
    "use_format": True,
    "use_cot_caption": True,
    "use_cot_language": True,
    "inference_steps": "6",
    "guidance_scale": "5.5",
    "shift": "2",
    "timesteps": "1, 0.75, 0.5, 0.25",
    "infer_method": "sde",
    "use_adg": True,
    "cfg_interval_start": "0.1",
    "cfg_interval_end": "0.9",
    "instruction": "Fill the audio with a song",
    "lm_backend": None,
    "lm_temperature": "1.1",
    "lm_cfg_scale": "1.5",
    "lm_guide_metadata": True,
    "lm_negative_prompt": "noise",
    "lm_top_k": "1000",
    "lm_top_p": "0.98",
    "lm_repetition_penalty": "1.1",
    "audio_code_string": "",
    "allow_silent_source": True,
    "repainting_start": "1",
    "repainting_end": "2",
    "repaint_mode": "aggressive",
    "repaint_strength": "0.25",
    "audio_cover_strength": "0.5",
    "cover_noise_strength": "0.5",
    "chunk_mask_mode": "explicit",
    "global_caption": "a whole song",
    "cover_nofsq": True,
    "sampling": "2026-01",
    "sampler_mode": None,
    "velocity_norm_threshold": "2",
    "velocity_ema_factor": "0.1",
    "dcw_enabled": "true",
    "dcw_mode": "low",
    "dcw_scaler": "0.1",
    "dcw_high_scaler": "0.03",
    "dcw_wavelet": "db4",
    "latent_rescale": "0.9",
    "latent_shift": "0.01",
    "lyric_timestamps": True,
    "retake_seed": "7",
    "retake_variance": "0.3",
    "enable_normalization": False,
    "normalization_db": "-3",
    "fade_in_duration": "0.5",
    "fade_out_duration": "1",
    "embed_request": True,
    "callback_url": "",
    "callback_events": "started,finished",
    "start_within_seconds": "600",
    "keep_seconds": "3600",
    "priority": "0",
}
"""The test enters these values into the fields; None keeps the choice.

The server has one backend, and the sampler "heun" goes with no other `infer_method` than "ode". The LM's
sampling is wide, because the tiny LM ends its texts with a token that a narrower one would rarely draw.
"""


def enter(field: Locator, value: Any, is_choice: bool) -> None:
    """Enter a value into the control of a field: a box, a choice or a text."""
    if isinstance(value, bool):
        field.get_by_role("checkbox").first.set_checked(value)
    elif is_choice:
        if value is not None:
            field.locator("select").select_option(value)
    else:
        field.locator("input, textarea").first.fill(value)


def schema_of(server: Client) -> dict[str, Any]:
    """Return what the server says of each field of a request for songs."""
    document = server.http.get("/openapi.json").json()
    body = document["paths"]["/v1/music/generate"]["post"]["requestBody"]["content"]["application/json"]
    properties: dict[str, Any] = body["schema"]["properties"]
    return properties


def test_a_song_from_one_sentence(studio: Studio, server: Client) -> None:
    studio.create.get_by_role("radio", name="Simple").check(force=True)
    studio.create.get_by_label("Your song in one sentence").fill(SENTENCE)
    studio.create.get_by_role("button", name="Write the song").click()
    # What was written is shown, and the user changes it.
    caption = studio.field("caption").locator("textarea")
    expect(caption).not_to_have_value("")
    caption.fill(f"{caption.input_value()}, with a trumpet")
    studio.field("vocal_language").locator("select").select_option("en")
    studio.fill(audio_duration="5", batch_size="1")
    job_id = studio.make()
    # A language that was chosen is sent, also where it is the default.
    assert studio.submitted[-1]["vocal_language"] == "en"
    studio.until_playable(job_id)
    job = server.wait(job_id)
    assert job["result"]["metas"]["caption"].endswith(", with a trumpet")
    assert job["result"]["duration"] == 5


@pytest.mark.slow
def test_adapters_are_chosen_with_their_strengths(studio: Studio, server: Client) -> None:
    studio.create.get_by_role("radio", name="Custom").check(force=True)
    adapters = studio.field("adapters")
    choice = adapters.get_by_role("combobox", name="Adapters")
    for name in ("folk", "jazz"):
        choice.select_option(name)
    expect(choice.locator("option")).to_have_count(1)
    adapters.get_by_label("Strength of jazz").fill("-0.5")
    adapters.get_by_role("button", name="Remove folk").click()
    expect(choice.locator("option")).to_have_text(["Add an adapter …", "folk"])
    studio.fill(caption="a song with an adapter", audio_duration="3", batch_size="1")
    job = server.wait(studio.make())
    assert studio.submitted[-1]["adapters"] == [{"name": "jazz", "scale": -0.5}]
    (used,) = job["result"]["adapters"]
    assert (used["name"], used["scale"]) == ("jazz", -0.5)


@pytest.mark.slow
def test_a_sentence_is_enough(studio: Studio, server: Client) -> None:
    studio.create.get_by_role("radio", name="Simple").check(force=True)
    studio.create.get_by_label("Your song in one sentence").fill(SENTENCE)
    job_id = studio.make()
    assert studio.submitted[-1]["sample_query"] == SENTENCE
    assert server.cancel(job_id)["status"] == "cancelled"


def test_every_field_of_the_api_has_a_control_and_is_sent(studio: Studio, server: Client) -> None:
    fields = set(schema_of(server))
    studio.custom()
    blocks = studio.create.locator("[data-field]")
    choices: dict[str, bool] = dict(
        blocks.evaluate_all("(all) => all.map((one) => [one.dataset.field, !!one.querySelector('select')])")
    )
    assert set(choices) == fields - NOT_SHOWN
    for fold in studio.create.locator("details").all():
        fold.evaluate("(details) => { details.open = true }")
    entered = fields - NOT_SHOWN - ONLY_WITH_A_SOURCE
    assert set(VALUES) == entered - {"model", "lm_model_path", "adapters"}
    for name, value in VALUES.items():
        enter(studio.field(name), value, choices[name])
    job_id = studio.make()
    sent = studio.submitted[-1]
    changed = {name: value for name, value in VALUES.items() if value not in (None, "", "0")}
    assert set(changed) <= set(sent)
    numbers = {name: float(value) for name, value in changed.items() if str(value).replace(".", "").isdigit()}
    assert {name: float(sent[name]) for name in numbers} == numbers
    result = server.wait(job_id)["result"]
    assert (result["bpm"], result["keyscale"], result["duration"]) == (97, "D minor", 5)
    assert result["seed_value"] == "41, 42"
    assert [path.rpartition(".")[2] for path in result["audio_paths"]] == ["wav", "wav"]
    studio.until_playable(job_id)
    expect(studio.listen).to_contain_text(re.compile(r"kept for\s(60|59)\smin"))  # by `keep_seconds`


@pytest.mark.slow
def test_ranges_defaults_and_help_are_those_of_the_server(studio: Studio, server: Client) -> None:
    schema = schema_of(server)
    studio.custom()
    checked = 0
    for name, facts in schema.items():
        numbers = [
            kind for kind in (facts, *facts.get("anyOf", ())) if kind.get("type") in {"integer", "number"}
        ]
        control = studio.field(name).locator("input[type=number]")
        if not numbers or not control.count():
            continue
        (number, *_) = numbers
        for limit, attribute in (("minimum", "min"), ("maximum", "max")):
            if limit in number:
                assert float(control.get_attribute(attribute) or "nan") == number[limit], name
        if facts.get("default") is not None:
            assert float(control.input_value()) == facts["default"], name
        # The page writes the names of fields in the description as their labels.
        if words := re.match(r"[A-Za-z ]{8,}", facts["description"]):
            assert words[0] in (studio.field(name).locator(".help").text_content() or "")
        checked += 1
    assert checked >= 12


def test_what_is_wrong_is_said_beside_the_field(studio: Studio, server: Client) -> None:
    before = server.http.get("/v1/jobs", params={"limit": 1}).json()["jobs"]
    studio.custom()
    studio.create.get_by_text("Advanced").click()
    studio.fill(caption="a song")
    for name, value in (("bpm", "7"), ("audio_duration", "601"), ("timesteps", "0.1, 0.9")):
        studio.fill(**{name: value})
        studio.create.locator("button[type=submit]").click()
        error = studio.error_of(name)
        expect(error).not_to_be_empty(timeout=PATIENCE_MS)
        expect(error).to_be_visible()
        control = studio.field(name).locator("input, textarea").first
        expect(control).to_have_attribute("aria-invalid", "true")
        assert error.get_attribute("id") in (control.get_attribute("aria-describedby") or "").split()
        control.fill("")
        expect(error).to_be_empty()
    assert server.http.get("/v1/jobs", params={"limit": 1}).json()["jobs"] == before


@pytest.mark.slow
def test_a_full_queue_is_said_at_the_button(studio: Studio) -> None:
    """The test answers in the place of the API: filling the shared server's queue would take a minute."""
    detail = "The queue is full; try again in 9 s"
    studio.page.route(
        "**/v1/music/generate", lambda route: route.fulfill(status=429, json={"detail": detail})
    )
    studio.custom()
    studio.fill(caption="a song")
    studio.create.locator("button[type=submit]").click()
    expect(studio.create.locator('[data-error-for="form"]')).to_contain_text(detail)
