"""Converting musical metadata between the user's spelling, the LM's text and the pipeline."""

import re
from collections.abc import Mapping
from dataclasses import asdict, replace

import yaml

from configs.domain import CODE_TOKEN, MAX_BPM, MAX_LM_DURATION, MIN_BPM, MIN_LM_DURATION, TIME_SIGNATURES
from deployments.common.messages import Metadata
from deployments.language_model.text.prompts import END_THINK, THINK, TURN_END

Fields = dict[str, int | str]
"""Metadata as the LM writes it; its keys are among DESCRIPTION_KEYS."""


COT_KEYS = ("bpm", "caption", "duration", "keyscale", "language", "timesignature")
"""Fields of the metadata that precede codes, in the order of the training data."""
DESCRIPTION_KEYS = ("bpm", "caption", "duration", "genres", "keyscale", "language", "timesignature")
"""Fields of a description, in the order of the training data. Some descriptions name no genres."""

_KEY = re.compile(r"([A-G])\s*(#|♯|b|♭)?\s*(M|maj(?:or)?|m(?:in(?:or)?)?)?", re.IGNORECASE)
_LYRIC_HEADER = re.compile(r"^# Lyric\s*\n", re.IGNORECASE)


def normal_key(text: str) -> str | None:
    """A key like `c# minor`, `Bbm` or `F♯ minor` in the LM's spelling, `C# minor`; None for other modes."""
    match = _KEY.fullmatch(text.strip())
    if not match:
        return None
    note, accidental, mode = match.groups(default="")
    minor = mode == "m" or mode.lower().startswith("min")
    return f"{note.upper()}{accidental.lower()} {'minor' if minor else 'major'}"


def normal_time_signature(text: str) -> str | None:
    """A time signature like `4/4` or `4` in the LM's spelling, `4`; None if the LM cannot write it."""
    text = text.strip()
    if text in TIME_SIGNATURES:
        return text
    return next((name for name, written in TIME_SIGNATURES.items() if written == text), None)


def lm_fields(metadata: Metadata, language: str | None) -> Fields:
    """Known metadata in the LM's spelling and ranges, without what it cannot write (`D dorian`, `5/4`)."""
    fields: Fields = {}
    if metadata.bpm is not None:
        fields["bpm"] = min(max(metadata.bpm, MIN_BPM), MAX_BPM)
    if metadata.caption is not None:
        fields["caption"] = metadata.caption
    if metadata.duration is not None:
        fields["duration"] = min(max(int(metadata.duration), MIN_LM_DURATION), MAX_LM_DURATION)
    if metadata.key_scale is not None and (key := normal_key(metadata.key_scale)):
        fields["keyscale"] = key
    if language is not None:
        fields["language"] = language
    if metadata.time_signature is not None and (time := normal_time_signature(metadata.time_signature)):
        fields["timesignature"] = time
    return fields


def cot_yaml(fields: Mapping[str, object]) -> str:
    """The text between `<think>` and `</think>` of a codes prompt, as PyYAML writes it."""
    known = {key: _cot_value(key, fields[key]) for key in COT_KEYS if fields.get(key) is not None}
    return yaml.dump(known, allow_unicode=True, sort_keys=True).strip() if known else ""


def _cot_value(key: str, value: object) -> object:
    if key == "timesignature" and isinstance(value, str):
        value = value.removesuffix("/4")
    return int(value) if isinstance(value, str) and value.isdigit() else value


def completed(given: Metadata, fields: Fields) -> Metadata:
    """The given metadata, with what it lacks taken from the LM's fields."""
    written = Metadata(
        bpm=_integer(fields.get("bpm")),
        key_scale=_text(fields.get("keyscale")),
        time_signature=_text(fields.get("timesignature")),
        duration=_number(fields.get("duration")),
        caption=_text(fields.get("caption")),
        language=_text(fields.get("language")),
        genres=_text(fields.get("genres")),
    )
    known = {name: value for name, value in asdict(given).items() if value is not None}
    return replace(written, **known)


def _integer(value: int | str | None) -> int | None:
    return None if value is None else int(value)


def _number(value: int | str | None) -> float | None:
    return None if value is None else float(value)


def _text(value: int | str | None) -> str | None:
    return printable(str(value)) or None if value else None


def printable(text: str) -> str:
    """The text without control characters, which a request could not send back."""
    return "".join(character for character in text if character.isprintable() or character in "\n\t")


def parse_lm_output(text: str) -> tuple[Fields, str]:
    """The metadata and the code tokens in the LM's output. Unknown lines are ignored."""
    return _parse_lines(_thought(text)), "".join(code.group() for code in CODE_TOKEN.finditer(text))


def _thought(text: str) -> str:
    if THINK.name in text and END_THINK.name in text:
        return text.split(THINK.name, 1)[1].split(END_THINK.name, 1)[0]
    first_code = CODE_TOKEN.search(text)
    return text if first_code is None else text[: first_code.start()]


def _parse_lines(text: str) -> Fields:
    values: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if line.startswith("<"):
            continue
        if line and not line[0].isspace() and ":" in line:
            key, _, value = line.partition(":")
            current = values[key.strip().lower()] = [value]
        elif line[:1].isspace():
            current.append(line)
    fields: Fields = {}
    for key in DESCRIPTION_KEYS:
        if key in values:
            value = " ".join(part for part in map(str.strip, values[key]) if part)
            fields[key] = int(value) if key in ("bpm", "duration") and value.isdigit() else value
    return fields


def extract_lyrics(text: str) -> str:
    """The lyrics after `</think>` in an answer to an understand, format or inspire prompt."""
    _, end_think, lyrics = text.partition(END_THINK.name)
    if not end_think:
        return ""
    lyrics = _LYRIC_HEADER.sub("", lyrics.strip(), count=1)
    return lyrics.removesuffix(TURN_END.name).strip()
