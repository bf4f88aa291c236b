import pytest

from deployments.common.messages import Metadata
from deployments.language_model.text.metadata import cot_yaml, lm_fields, normal_key, normal_time_signature


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("C Major", "C major"),
        ("c# minor", "C# minor"),
        ("Bbm", "Bb minor"),
        ("bb", "Bb major"),
        ("F♯ minor", "F♯ minor"),
        ("E♭", "E♭ major"),
        ("  A  min ", "A minor"),
        ("GM", "G major"),
        ("Gm", "G minor"),
        ("A#MAJ", "A# major"),
        ("D dorian", None),
        ("H major", None),
        ("", None),
        ("C## major", None),
        ("C major\nbpm: 1", None),
    ],
)
def test_keys_are_written_as_the_lm_writes_them(written: str, normal: str | None) -> None:
    assert normal_key(written) == normal


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("4/4", "4"),
        ("3/4", "3"),
        ("2/4", "2"),
        ("6/8", "6"),
        ("6", "6"),
        (" 4 ", "4"),
        ("5/4", None),
        ("8", None),
    ],
)
def test_time_signatures_are_written_as_the_lm_writes_them(written: str, normal: str | None) -> None:
    assert normal_time_signature(written) == normal


def test_what_the_lm_cannot_say_is_left_out() -> None:
    metadata = Metadata(bpm=72, key_scale="D dorian", time_signature="5/4", duration=2.5)
    assert lm_fields(metadata, "no") == {"bpm": 72, "duration": 10, "language": "no"}


def test_an_empty_thought_has_an_empty_line() -> None:
    assert cot_yaml({}) == ""
    assert cot_yaml(lm_fields(Metadata(duration=61.9), None)) == "duration: 61"
