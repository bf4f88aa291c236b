"""Every golden scenario of the sampling of 2026-08, alone and packed with all others.

GOLDEN_DIR names another folder of scenarios (`tests.golden_dits`). Each one in it is run.
"""

from dataclasses import replace

import pytest
import torch

from configs.domain import EARLIER_SAMPLING, NEWEST_SAMPLING
from deployments.common.messages import DiffusionOptions
from tests.golden_dits import (
    LAYOUTS,
    TOLERANCE,
    engine_of,
    golden_latents,
    request_of,
    run,
    scenarios,
    songs_of,
)

SCENARIOS = scenarios("dit_newest")

each_scenario = pytest.mark.parametrize(
    ("variant", "name"), [(variant, name) for variant in SCENARIOS for name in SCENARIOS[variant]]
)
each_layout = pytest.mark.parametrize("layout", LAYOUTS)
each_variant = pytest.mark.parametrize("variant", SCENARIOS)


def test_there_are_scenarios() -> None:
    assert sum(map(len, SCENARIOS.values())) > 0


@each_layout
@each_scenario
def test_latents_equal_the_original_models(variant: str, name: str, layout: str) -> None:
    engine = engine_of(variant, layout)
    latents = run(engine, songs_of(engine, variant, SCENARIOS[variant][name], NEWEST_SAMPLING))
    assert (latents - golden_latents("dit_newest", variant, name)).abs().max() <= TOLERANCE


@each_variant
def test_songs_with_different_options_share_their_forwards(variant: str) -> None:
    engine = engine_of(variant)
    songs = {
        name: songs_of(engine, variant, scenario, NEWEST_SAMPLING)
        for name, scenario in SCENARIOS[variant].items()
    }
    together = [song for of_scenario in songs.values() for song in of_scenario]
    while running := [song for song in together if not song.trajectory.done]:
        engine.step(running)
    for name, of_scenario in songs.items():
        latents = torch.stack([song.trajectory.latents for song in of_scenario])
        assert (latents - golden_latents("dit_newest", variant, name)).abs().max() <= TOLERANCE, name


def test_the_defaults_are_those_of_the_original_of_each_version() -> None:
    """A turbo model is corrected unless the request or the version says no, and others only if asked."""
    plain = scenarios("dit_newest")["turbo"]["default"]
    corrected = {}
    for variant in ("turbo", "base"):
        engine = engine_of(variant)
        for sampling in (EARLIER_SAMPLING, NEWEST_SAMPLING):
            request = replace(
                request_of(variant, plain, 0, sampling), options=DiffusionOptions(sampling=sampling)
            )
            song = engine.start(request)
            latents = run(engine, [song])
            corrected[variant, sampling] = engine.finish(song).used.is_corrected
            if (variant, sampling) == ("turbo", NEWEST_SAMPLING):
                golden = golden_latents("dit_newest", variant, "default")
                assert (latents - golden).abs().max() <= TOLERANCE
    assert [key for key, is_corrected in corrected.items() if is_corrected] == [("turbo", NEWEST_SAMPLING)]


def test_a_song_without_options_has_the_same_bits_beside_songs_with_them() -> None:
    engine = engine_of("turbo")
    request = request_of("turbo", scenarios("dit_newest")["turbo"]["default"], 0, EARLIER_SAMPLING)
    options = {
        "correction": DiffusionOptions(dcw_wavelet="db4"),
        "Heun": DiffusionOptions(sampler_mode="heun"),
        "limits": DiffusionOptions(velocity_norm_threshold=0.5, velocity_ema_factor=0.2),
        "rescaled": DiffusionOptions(latent_rescale=0.5, latent_shift=1.0),
    }
    plain = DiffusionOptions(sampling=EARLIER_SAMPLING)
    alike = run(engine, [engine.start(replace(request, options=plain)) for _ in range(1 + len(options))])
    others = [engine.start(replace(request, seed=7, options=each)) for each in options.values()]
    beside = run(engine, [engine.start(replace(request, options=plain)), *others])
    assert torch.equal(alike[0], beside[0])
