import re

import pytest

from deployments.language_model.text.grammar import constrained_metadata, integers, metadata_regex

FORCED = {"bpm": 72, "duration": 30, "keyscale": "C# minor", "language": "en", "timesignature": "4"}


@pytest.mark.parametrize(
    ("low", "high"),
    [(30, 300), (10, 600), (10, 30), (10, 10), (7, 7), (9, 101), (99, 1000), (123, 456), (10, 599)],
)
def test_integers_match_their_range_and_nothing_else(low: int, high: int) -> None:
    pattern = re.compile(integers(low, high))
    assert [n for n in range(2000) if pattern.fullmatch(str(n))] == list(range(low, high + 1))
    assert not pattern.fullmatch(f"0{low}")


@pytest.mark.parametrize(
    ("wanted", "prefill", "written"),
    [
        ({"bpm"}, "\nbpm:", " 300\n"),
        ({"duration"}, "\nbpm: 72\nduration:", " 25\n"),
        ({"bpm", "keyscale"}, "\nbpm:", " 30\nduration: 30\nkeyscale: G♭ major\n"),
        (
            {"timesignature"},
            "\nbpm: 72\nduration: 30\nkeyscale: C# minor\nlanguage: en\ntimesignature:",
            " 6\n",
        ),
    ],
)
def test_only_what_is_missing_is_generated(wanted: set[str], prefill: str, written: str) -> None:
    forced = {key: value for key, value in FORCED.items() if key not in wanted}
    constrained = constrained_metadata(wanted, forced, max_duration=30)
    assert constrained.prefill == prefill
    assert re.fullmatch(constrained.regex, written)


def test_forced_values_stand_as_they_are() -> None:
    regex = metadata_regex({"bpm"}, {"keyscale": "C# minor", "caption": "a.b (c)"})
    assert re.fullmatch(regex, "<think>\nbpm: 72\ncaption: a.b (c)\nkeyscale: C# minor\n")
    assert not re.fullmatch(regex, "<think>\nbpm: 72\ncaption: a-b (c)\nkeyscale: C# minor\n")


def test_the_longest_duration_is_the_callers() -> None:
    regex = constrained_metadata({"duration"}, {}, max_duration=30).regex
    assert re.fullmatch(regex, " 30\n")
    assert not re.fullmatch(regex, " 31\n")
