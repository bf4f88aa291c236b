"""Types of request fields, such as texts, numbers, flags, keys and seeds.

Values come from JSON and from forms, so numbers and flags may be written as text. Values that later code
could not handle (lone surrogates, NUL, infinities, `true` for a number) are refused here.
"""

import re
from itertools import pairwise
from math import inf
from typing import Annotated, Any

import httpx
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    Strict,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from configs.domain import LANGUAGES, MAX_BPM, MIN_BPM, TIME_SIGNATURES, TRACKS
from deployments.common.messages import REPAINT_MODES, AdapterUse

CALLBACK_EVENTS = ("started", "progress", "finished")
"""The events of a job of which `callback_url` can be told."""
MAX_SEED = 2**32 - 1
RANDOM_SEED = -1
MAX_STEPS = 200
MAX_ENTRIES = 64
"""Length of a list of seeds, tracks or songs' codes. It bounds the time that validation takes."""
MAX_ADAPTERS = 8
"""Adapters of one song."""
MAX_ADAPTER_NAME = 128
"""Characters."""
MAX_ADAPTER_SCALE = 2.0
MAX_CODES = 100_000
"""Number of codes of all songs of a request: four times the codes of eight songs of ten minutes."""

_TRUE = frozenset({"1", "true", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "no", "n", "off"})
_METRE = re.compile(r"[1-9][0-9]?/[1-9][0-9]?")
_LINE_BREAK = re.compile("[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SEED = re.compile(r"(-?[0-9]{1,10})(?:\.0{1,10})?")
_FRACTION_OF_NOTHING = re.compile(r"(?<=^[0-9])\.0{1,10}$")
_SHORTHANDS = frozenset(map(int, TIME_SIGNATURES))
_VISIBLE_ASCII = re.compile("[!-~]+")


def _well_formed(value: Any) -> Any:
    if isinstance(value, str):
        if "\0" in value:
            raise PydanticCustomError("string_nul", "Text must not contain the NUL character")
        if _SURROGATE.search(value):
            raise PydanticCustomError("string_unicode", "Text must not contain half of a surrogate pair")
    return value


def _refuse_flag(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("number_type", "Input should be a number, not true or false")
    return value


def _whole(value: Any) -> Any:
    """The int of a float without a fraction, because some programs write 8 as 8.0; else the value itself."""
    return int(value) if type(value) is float and value.is_integer() else value


def flag_of(value: Any) -> bool | None:
    """The flag that a value is or writes; None where it is none."""
    if isinstance(value, bool):
        return value
    value = _whole(value)
    if isinstance(value, int | str):
        word = str(value).strip().lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
    return None


def _flag(value: Any) -> bool:
    known = flag_of(value)
    if known is None:
        raise PydanticCustomError(
            "bool_parsing", "Input should be true or false (1 true yes y on / 0 false no n off)"
        )
    return known


def _language(code: str) -> str:
    language = re.split("[-_]", code, maxsplit=1)[0].lower()
    if language not in LANGUAGES:
        raise PydanticCustomError(
            "language", "Input should be one of {languages}", {"languages": ", ".join(LANGUAGES)}
        )
    return language


def _key_scale(text: str) -> str:
    if _LINE_BREAK.search(text) or "<|" in text:
        raise PydanticCustomError(
            "key_scale", "Input should be a key like 'C Major' in one line, without the characters <|"
        )
    return text.strip()


def _metre_as_text(value: Any) -> Any:
    value = _whole(value)
    if type(value) is int and value in _SHORTHANDS:
        return str(value)
    return _FRACTION_OF_NOTHING.sub("", value) if isinstance(value, str) else value


def _time_signature(text: str) -> str:
    metre = text.strip()
    if metre and metre not in TIME_SIGNATURES and not _METRE.fullmatch(metre):
        raise PydanticCustomError(
            "time_signature",
            "Input should be {metres}, one of their shorthands {shorthands}, or another n/d",
            {"metres": ", ".join(TIME_SIGNATURES.values()), "shorthands": ", ".join(TIME_SIGNATURES)},
        )
    return metre


def _seeds(value: Any) -> Any:
    if isinstance(value, tuple):
        return value
    texts = value.split(",", MAX_ENTRIES) if isinstance(value, str) else [value]
    if len(texts) > MAX_ENTRIES:
        raise _too_many_error()
    return tuple(_seed(text) for text in texts)


def _seed(value: Any) -> int:
    value = _whole(value)
    if isinstance(value, str) and (match := _SEED.fullmatch(value.strip())):
        value = int(match[1])
    if type(value) is not int or not RANDOM_SEED <= value <= MAX_SEED:
        raise PydanticCustomError(
            "seed",
            "Input should be a whole number from 0 to {max_seed}, {random} for a random one, "
            "or a comma-separated list of them, one per song of the batch",
            {"max_seed": MAX_SEED, "random": RANDOM_SEED},
        )
    return value


def _too_many_error() -> PydanticCustomError:
    return PydanticCustomError("entries", "Input should have at most {most} entries", {"most": MAX_ENTRIES})


def _code_entries(value: Any) -> Any:
    """One text for all songs, or an array with one entry per song: text, or an array of whole numbers."""
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list | tuple):
        raise _code_type_error()
    # The entries are counted before any of them is parsed.
    if len(entries) > MAX_ENTRIES:
        raise _too_many_error()
    if sum(map(_code_count, entries)) > MAX_CODES:
        raise PydanticCustomError(
            "audio_codes",
            "Input should have at most {most} audio codes, of all songs together",
            {"most": MAX_CODES},
        )
    texts = tuple(map(_code_entry, entries))
    return texts[0] if isinstance(value, str) else texts


def _code_count(entry: Any) -> int:
    """An upper bound on the number of codes in an entry."""
    if isinstance(entry, str):
        return entry.count(",") + entry.count("|>") + 1
    return len(entry) if isinstance(entry, list | tuple) else 0


def _code_entry(entry: Any) -> str:
    if isinstance(entry, str):
        return entry
    if isinstance(entry, list | tuple):
        codes = [_whole(code) for code in entry]
        if all(type(code) is int and abs(code) < 2**31 for code in codes):
            return ",".join(map(str, codes))
    raise _code_type_error()


def _code_type_error() -> PydanticCustomError:
    return PydanticCustomError(
        "audio_codes",
        "Input should be text like '<|audio_code_123|><|audio_code_456|>' or '123,456', "
        "or an array with one such entry per song of the batch",
    )


def _timesteps(value: Any) -> tuple[float, ...]:
    entries = value.split(",", MAX_STEPS) if isinstance(value, str) else value
    if isinstance(entries, list | tuple) and 0 < len(entries) <= MAX_STEPS:
        try:
            steps = tuple(float(_refuse_flag(entry)) for entry in entries)
        except (TypeError, ValueError, OverflowError):
            steps = ()
        if steps and 0 < steps[0] <= 1 and all(0 <= later < t for t, later in pairwise(steps)):
            return steps
    raise PydanticCustomError(
        "timesteps",
        "Input should be 1 to {most} timesteps from 1 (noise) to 0, each below the one before, "
        "as an array or separated by commas",
        {"most": MAX_STEPS},
    )


def _adapters(value: Any) -> tuple[AdapterUse, ...]:
    """Objects with a name and a scale, names alone, or one of either."""
    entries = value if isinstance(value, list | tuple) else [value]
    if len(entries) > MAX_ADAPTERS:
        raise PydanticCustomError(
            "adapters", "Input should have at most {most} adapters", {"most": MAX_ADAPTERS}
        )
    uses = tuple(map(_adapter, entries))
    names = [use.name for use in uses]
    if len(set(names)) < len(names):
        raise PydanticCustomError("adapters", "Input should name each adapter once")
    return uses


def _adapter(entry: Any) -> AdapterUse:
    if isinstance(entry, AdapterUse):
        return entry
    given = {"name": entry} if isinstance(entry, str) else entry
    if isinstance(given, dict) and "name" in given and given.keys() <= {"name", "scale"}:
        name, scale = given["name"], given.get("scale")
        try:
            number = 1.0 if scale is None else float(_refuse_flag(scale))
        except (TypeError, ValueError, OverflowError):
            number = inf
        if isinstance(name, str) and 0 < len(name) <= MAX_ADAPTER_NAME and abs(number) <= MAX_ADAPTER_SCALE:
            return AdapterUse(_well_formed(name), number)
    raise PydanticCustomError(
        "adapters",
        "Input should be an array of objects like {example}, with scales from {least} to {most}",
        {
            "example": '{"name": "folk", "scale": 0.8}',
            "least": -MAX_ADAPTER_SCALE,
            "most": MAX_ADAPTER_SCALE,
        },
    )


def _track(name: str) -> str:
    track = re.sub(r"[\s-]+", "_", name.strip().lower())
    if track not in TRACKS:
        raise PydanticCustomError("track", "Input should be one of {tracks}", {"tracks": ", ".join(TRACKS)})
    return track


def _separated(value: Any) -> Any:
    names = re.split("[,|]", value, maxsplit=MAX_ENTRIES) if isinstance(value, str) else value
    if isinstance(names, list | tuple) and len(names) > MAX_ENTRIES:
        raise _too_many_error()
    return names


def _callback_event(name: str) -> str:
    event = name.strip().lower()
    if event not in CALLBACK_EVENTS:
        raise PydanticCustomError(
            "callback_event", "Input should be one of {events}", {"events": ", ".join(CALLBACK_EVENTS)}
        )
    return event


def _repaint_mode(name: str) -> str:
    if name not in REPAINT_MODES:
        raise PydanticCustomError(
            "repaint_mode", "Input should be one of {modes}", {"modes": ", ".join(REPAINT_MODES)}
        )
    return name


def _repainting_end(seconds: float | None) -> float | None:
    if seconds is not None and seconds < 0 and seconds != -1:
        raise PydanticCustomError(
            "repainting_end", "Input should be 0 or more seconds, or null or -1 for the end of the source"
        )
    return seconds


def _callback_url(url: str) -> str:
    if not _VISIBLE_ASCII.fullmatch(url):
        raise PydanticCustomError("url", "Input should be a URL in ASCII, without spaces")
    try:
        parts = httpx.URL(url)
        parts.host.encode("idna")  # needed for the name look-up
        valid = (
            parts.scheme in {"http", "https"}
            and parts.host
            and (parts.port is None or 0 < parts.port < 2**16)
        )
    except (httpx.InvalidURL, ValueError):  # ValueError: the host is not a valid IDNA name
        valid = False
    if not valid:
        raise PydanticCustomError("url", "Input should be an http or https URL with a host")
    if parts.userinfo:
        raise PydanticCustomError("url", "Input should be a URL without a user or password")
    return url


_NotAFlag = BeforeValidator(_refuse_flag)

Text = Annotated[str, Strict(), BeforeValidator(_well_formed)]
CallbackUrl = Annotated[
    str,
    Strict(),
    Field(max_length=2_048, json_schema_extra={"format": "uri"}),
    BeforeValidator(_well_formed),
    AfterValidator(_callback_url),
]
Integer = Annotated[int, _NotAFlag]
Number = Annotated[float, Field(allow_inf_nan=False), _NotAFlag]
Bpm = Annotated[int, Field(ge=MIN_BPM, le=MAX_BPM), _NotAFlag]
BatchSize = Annotated[int, Field(ge=1), _NotAFlag]
TopK = Annotated[int, Field(ge=0, le=64_000), _NotAFlag]
Shift = Annotated[float, Field(ge=1, le=5, allow_inf_nan=False), _NotAFlag]
Duration = Annotated[float, Field(gt=0, allow_inf_nan=False), _NotAFlag]
Guidance = Annotated[
    float, Field(le=20, allow_inf_nan=False), _NotAFlag, AfterValidator(lambda scale: max(1.0, scale))
]
Share = Annotated[
    float, Field(gt=0, allow_inf_nan=False), _NotAFlag, AfterValidator(lambda share: min(1.0, share))
]
Flag = Annotated[bool, BeforeValidator(_flag)]
Language = Annotated[Text, AfterValidator(_language)]
KeyScale = Annotated[
    str, Strict(), Field(max_length=32), BeforeValidator(_well_formed), AfterValidator(_key_scale)
]
TimeSignature = Annotated[Text, BeforeValidator(_metre_as_text), AfterValidator(_time_signature)]
RepaintingEnd = Annotated[Number | None, AfterValidator(_repainting_end)]
RepaintModeName = Annotated[
    Text, AfterValidator(_repaint_mode), WithJsonSchema({"type": "string", "enum": list(REPAINT_MODES)})
]
Track = Annotated[Text, AfterValidator(_track), WithJsonSchema({"type": "string", "enum": list(TRACKS)})]
Tracks = Annotated[
    tuple[Track, ...],
    BeforeValidator(_separated),
    AfterValidator(lambda tracks: tuple(dict.fromkeys(tracks))),
]
CallbackEvents = Annotated[
    tuple[Annotated[Text, AfterValidator(_callback_event)], ...],
    BeforeValidator(_separated),
    AfterValidator(lambda events: tuple(dict.fromkeys(events))),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "string", "enum": list(CALLBACK_EVENTS)}},
                {"type": "string", "examples": ["started,finished"]},
            ]
        }
    ),
]
Timesteps = Annotated[
    tuple[float, ...],
    BeforeValidator(_timesteps),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "array",
                    "items": {"type": "number", "minimum": 0, "maximum": 1},
                    "minItems": 1,
                    "maxItems": MAX_STEPS,
                },
                {"type": "string", "examples": ["0.97,0.76,0.615,0.5,0.395,0.28,0.18,0.085,0"]},
            ]
        }
    ),
]
Adapters = Annotated[
    tuple[AdapterUse, ...],
    BeforeValidator(_adapters),
    WithJsonSchema(
        {
            "type": "array",
            "maxItems": MAX_ADAPTERS,
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "minLength": 1, "maxLength": MAX_ADAPTER_NAME},
                    "scale": {
                        "type": "number",
                        "minimum": -MAX_ADAPTER_SCALE,
                        "maximum": MAX_ADAPTER_SCALE,
                        "default": 1.0,
                    },
                },
                "required": ["name"],
                "additionalProperties": False,
            },
        }
    ),
]
Seeds = Annotated[
    tuple[int, ...],
    BeforeValidator(_seeds),
    PlainSerializer(lambda seeds: ",".join(map(str, seeds)), return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": RANDOM_SEED, "maximum": MAX_SEED},
                {"type": "string", "examples": ["12345", "1,2,-1"]},
            ]
        }
    ),
]
AudioCodeText = Annotated[
    Text | tuple[Text, ...],
    BeforeValidator(_code_entries),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
