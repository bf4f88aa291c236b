"""Parsing of the audio codes in a request."""

import re

from configs.domain import CODE_COUNT, CODE_TOKEN

_RUN = re.compile(rf"(?:\s*{CODE_TOKEN.pattern})+\s*")
_LIST = re.compile(r"\s*[0-9]{1,9}\s*(?:,\s*[0-9]{1,9}\s*)*")
_NUMBER = re.compile(r"[0-9]+")


def parse_codes(text: str) -> tuple[int, ...]:
    """The codes of one song, from `<|audio_code_N|>` runs or from N separated by commas.

    An empty text gives an empty tuple. Raises ValueError with a message for the user.
    """
    if not text.strip():
        return ()
    if not _RUN.fullmatch(text) and not _LIST.fullmatch(text):
        raise ValueError("Input should be a run of <|audio_code_N|>, or N separated by commas")
    codes = tuple(map(int, _NUMBER.findall(text)))
    if (largest := max(codes)) >= CODE_COUNT:
        raise ValueError(f"There is no audio code {largest}: codes go from 0 to {CODE_COUNT - 1}")
    return codes


def codes_per_song(entries: str | tuple[str, ...], batch_size: int) -> tuple[tuple[int, ...], ...]:
    """The codes of each item; empty where none are given.

    A text applies to all items; an array has one entry per item. Raises ValueError like `parse_codes`.
    """
    if isinstance(entries, str):
        codes = parse_codes(entries)
        return (codes,) * batch_size if codes else ()
    runs = tuple(parse_codes(entry) for entry in entries)
    if not any(runs):
        return ()
    if len(runs) != batch_size:
        raise ValueError(f"Input should have one entry per song: {batch_size}, not {len(runs)}")
    if not all(runs):
        raise ValueError(f"Entry {runs.index(()) + 1} has no codes; either all songs have codes or none")
    return runs
