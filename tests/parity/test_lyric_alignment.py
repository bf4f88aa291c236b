"""Lyric timestamps and alignment scores are those of the original.

GOLDEN_DIR names another folder of goldens (`tests.golden_dits`).
"""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from configs.domain import NEWEST_SAMPLING
from deployments.checkpoints.catalog import AlignmentHeads
from deployments.generator.engine import FinishedSong, GeneratorEngine
from deployments.generator.lyrics.listener import HeardLyrics, LyricListener, SungLyrics
from deployments.generator.lyrics.scoring import alignment_score, sung_tokens
from deployments.generator.lyrics.times import token_texts
from deployments.generator.lyrics.timing import timed_lyrics
from tests.golden_dits import (
    LAYOUTS,
    engine_of,
    folder,
    mount_of,
    request_of,
    run,
    scenarios,
    tensors,
)

FOLDER = folder("dit_newest/alignment")
GOLDEN: dict[str, Any] = json.loads((FOLDER / "alignment.json").read_text())
ATTENTION = tensors(FOLDER / "alignment.safetensors")
MADE_UP: dict[str, dict[str, Any]] = GOLDEN["made_up"]
MODEL: dict[str, Any] = GOLDEN["model"]
HEADS: AlignmentHeads = tuple(
    (int(layer), head) for layer, heads in MODEL["layers_heads"].items() for head in heads
)
SCORE_TOLERANCE = 1e-4
ATTENTION_TOLERANCE = 1e-5

each_case = pytest.mark.parametrize("case", MADE_UP)


def test_there_are_cases() -> None:
    assert MADE_UP


def made_up(case: str) -> HeardLyrics:
    attention = ATTENTION[f"made_up.{case}"].numpy()
    text = engine_of("turbo").tokenizer.text
    return HeardLyrics(
        tuple(MADE_UP[case]["token_ids"]), MADE_UP[case]["duration"], attention, attention, text
    )


@each_case
def test_times_and_lrc_are_those_of_the_original(case: str) -> None:
    golden, times = MADE_UP[case], timed_lyrics(made_up(case))
    assert [[token.text, token.start, token.end] for token in times.tokens] == golden["tokens"]
    assert [[line.text, line.start, line.end] for line in times.lines] == golden["sentences"]
    assert times.lrc == golden["lrc"]


@each_case
def test_the_score_and_its_parts_are_those_of_the_original(case: str) -> None:
    golden, heard = MADE_UP[case], made_up(case)
    is_sung = sung_tokens(token_texts(heard.ids, heard.decode))
    assert is_sung == list(map(bool, golden["type_mask"]))
    score = alignment_score(heard.in_song, is_sung)
    parts = (score.coverage, score.monotonicity, score.confidence, score.total)
    expected = [golden[name] for name in ("coverage", "monotonicity", "confidence", "score")]
    assert parts == pytest.approx(expected, abs=SCORE_TOLERANCE)
    assert timed_lyrics(heard).score == score.total


@pytest.fixture(params=LAYOUTS)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> GeneratorEngine:
    """An engine that listens with the golden's heads."""
    engine = engine_of(MODEL["variant"], request.param)
    listener = LyricListener(engine._transformer, HEADS, engine.tokenizer)
    monkeypatch.setattr(engine, "_listener", listener)
    return engine


def finished(engine: GeneratorEngine, lyric_timestamps: bool) -> FinishedSong:
    """The song of the golden scenario."""
    scenario = scenarios("dit_newest")[MODEL["variant"]][MODEL["scenario"]]
    request = request_of(MODEL["variant"], scenario, 0, NEWEST_SAMPLING)
    song = engine.start(replace(request, options=replace(request.options, lyric_timestamps=lyric_timestamps)))
    run(engine, [song])
    return engine.finish(song)


def test_attention_and_scores_of_a_song_are_those_of_the_original(engine: GeneratorEngine) -> None:
    song = finished(engine, lyric_timestamps=True)
    assert song.lyrics is not None
    heard = engine.listen(song.lyrics, song.latents)
    in_song, in_noise = (ATTENTION[f"model.attention_at_{name}"].numpy() for name in ("end", "noise"))
    assert np.abs(heard.in_song - in_song).max() <= ATTENTION_TOLERANCE
    assert np.abs(heard.in_noise - in_noise.mean(axis=0)).max() <= ATTENTION_TOLERANCE
    times = timed_lyrics(heard)
    assert times.score == pytest.approx(MODEL["dit_score"], abs=SCORE_TOLERANCE)
    assert times.condition_score == pytest.approx(MODEL["lm_score"], abs=SCORE_TOLERANCE)


def test_listening_changes_no_bit_of_a_song(engine: GeneratorEngine) -> None:
    heard, plain = (finished(engine, lyric_timestamps=wanted) for wanted in (True, False))
    assert heard.lyrics is not None
    engine.listen(heard.lyrics, heard.latents)
    again = finished(engine, lyric_timestamps=False)
    assert np.array_equal(heard.latents, plain.latents)
    assert np.array_equal(again.latents, plain.latents)
    assert plain.lyrics is None


def test_a_song_with_an_adapter_is_listened_to_with_it(engine: GeneratorEngine) -> None:
    """The same latents get other attention from the model with the adapter."""
    plain = finished(engine, lyric_timestamps=True)
    scenario = scenarios("dit_newest")[MODEL["variant"]][MODEL["scenario"]]
    asked = {**scenario, "adapters": [[{"name": "style", "scale": 1.0}]]}
    request = request_of(MODEL["variant"], scenario, 0, NEWEST_SAMPLING)
    wanted = replace(request, options=replace(request.options, lyric_timestamps=True))
    song = engine.start(wanted, mount=mount_of(engine, asked, 0))
    assert plain.lyrics is not None
    assert isinstance(song.lyrics, SungLyrics)
    with_adapter, without = (engine.listen(each, plain.latents) for each in (song.lyrics, plain.lyrics))
    assert np.abs(with_adapter.in_song - without.in_song).max() > 100 * ATTENTION_TOLERANCE
    assert np.abs(with_adapter.in_noise - without.in_noise).max() > 100 * ATTENTION_TOLERANCE
