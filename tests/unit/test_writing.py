"""The questions for songs that the LM writes, and what takes the place of its answers."""

import pytest

from configs.domain import INSTRUMENTAL
from deployments.common.messages import Inspiration
from serve_app.request.schemas import GenerateRequest
from serve_app.request.song_plan import SongWords
from serve_app.request.writing import (
    EXAMPLE_CAPTIONS,
    MAX_DESCRIPTION_TOKENS,
    MIN_DESCRIPTION_TOKENS,
    bound_language,
    description_tokens,
    fallback_sample,
    inspiration,
    named_language,
    rewritable,
    wants_sample,
)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, False),
        ({"sample_mode": True}, True),
        ({"sample_query": "a waltz"}, True),
        ({"sample_query": " "}, False),
    ],
)
def test_a_query_or_the_mode_alone_asks_for_a_sample(fields: dict[str, object], wanted: bool) -> None:
    assert wants_sample(GenerateRequest.model_validate(fields)) is wanted


@pytest.mark.parametrize(
    ("query", "language"),
    [
        ("a Japanese love song", "ja"),
        ("sad ballad in German, not in French", "de"),
        ("Latin jazz with a brass section", None),
        ("a chant in Latin", "la"),
        ("a song about the danes", None),
        ("", None),
    ],
)
def test_a_language_named_in_the_query_is_found(query: str, language: str | None) -> None:
    assert named_language(query) == language


@pytest.mark.parametrize(
    ("vocal_language", "query", "bound"),
    [
        ("en", "a Korean ballad", "ko"),
        ("unknown", "a Korean ballad", "ko"),
        ("fr", "a Korean ballad", "fr"),
        ("fr", "", "fr"),
        ("en", "a ballad", None),
        ("unknown", "a ballad", None),
    ],
)
def test_the_users_language_binds_before_the_querys(
    vocal_language: str, query: str, bound: str | None
) -> None:
    assert bound_language(GenerateRequest(vocal_language=vocal_language, sample_query=query)) == bound


@pytest.mark.parametrize(
    ("query", "lyrics", "instrumental"),
    [
        ("an instrumental waltz", "", True),
        ("pure music for sleeping", "", True),
        ("guitar solo", "", True),
        ("guitar solo.", "", True),
        ("a solo singer", "", False),
        ("a waltz", INSTRUMENTAL, True),
        ("a waltz", "la la", False),
        ("a waltz", "", False),
    ],
)
def test_hints_make_a_sample_instrumental(query: str, lyrics: str, instrumental: bool) -> None:
    assert inspiration(GenerateRequest(sample_query=query, lyrics=lyrics)) == Inspiration(query, instrumental)


@pytest.mark.parametrize(
    ("caption", "lyrics", "can"),
    [
        ("pop", "", True),
        ("", "la la", True),
        ("", "", False),
        (" ", "[inst]", False),
        ("pop", INSTRUMENTAL, True),
    ],
)
def test_there_is_something_to_rewrite(caption: str, lyrics: str, can: bool) -> None:
    assert rewritable(caption, lyrics) is can


def test_without_the_lm_a_sample_is_made_from_its_query_or_an_example() -> None:
    asked = GenerateRequest(sample_query=" a Spanish waltz ", lyrics="la la", caption="other")
    assert fallback_sample(asked, 3) == SongWords("a Spanish waltz", INSTRUMENTAL, "es")
    empty = GenerateRequest(sample_mode=True)
    drawn = {fallback_sample(empty, seed).caption for seed in range(len(EXAMPLE_CAPTIONS))}
    assert drawn == set(EXAMPLE_CAPTIONS)
    assert fallback_sample(empty, 1) == fallback_sample(empty, 1)


@pytest.mark.parametrize(
    ("context", "tokens"),
    [(32_768, MAX_DESCRIPTION_TOKENS), (4_608, 1_096), (4_096, 584), (3_600, MIN_DESCRIPTION_TOKENS)],
)
def test_a_description_leaves_room_for_the_codes_of_the_longest_song(context: int, tokens: int) -> None:
    assert description_tokens(context, max_code_count=3_000) == tokens
