"""From raw values by name to a `GenerateRequest`: spellings, nesting and values that are "not given".

A field may be written in snake case, in camel case or by an alias; the first spelling that is given counts.
Null and the empty text mean "not given"; for a musical fact the texts `N/A`, `auto`, `none` and `null` do
too. Where one spelling is repeated, the last value counts.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, BinaryIO

from pydantic import ValidationError

from serve_app.api.errors import unknown_fields
from serve_app.api.intake.body import Body, bounded_json
from serve_app.request.capabilities import Limits
from serve_app.request.errors import invalid, invalid_fields
from serve_app.request.schemas import GenerateRequest

FILE_FIELDS = ("src_audio", "reference_audio")
"""Fields for uploads in multipart bodies."""
ALIASES = {
    "caption": ("prompt",),
    "audio_duration": ("duration", "target_duration"),
    "key_scale": ("keyscale", "key"),
    "time_signature": ("timesignature",),
    "audio_code_string": ("audio_codes",),
}
ARRAY_FIELDS = ("audio_code_string", "timesteps", "track_classes", "adapters", "callback_events")
"""Fields that may be arrays. For other fields the last value in a form counts."""
NESTED = ("metas", "metadata", "user_metadata")
"""Names of objects that may contain the musical facts."""
NESTED_FIELDS = ("bpm", "key_scale", "time_signature", "audio_duration")
UNKNOWN_FACTS = ("n/a", "auto", "none", "null")
"""Texts of other programs for an unknown fact, in any case. The original's results contain `N/A`."""
LONE_ADAPTER = ("lora_name", "lora_scale")
"""Fields that name one adapter and its scale, in place of `adapters`: a form has no objects."""
FACTS = (*NESTED_FIELDS, "vocal_language")
"""The fields in which these texts mean "not given"."""


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def in_both_cases(names: Iterable[str]) -> tuple[str, ...]:
    """Names in snake case, each followed by the same name in camel case."""
    return tuple(dict.fromkeys(spelling for name in names for spelling in (name, _camel_case(name))))


SPELLINGS = {
    name: in_both_cases((name, *ALIASES.get(name, ())))
    for name in (*GenerateRequest.model_fields, *FILE_FIELDS, *LONE_ADAPTER)
}
"""Every accepted spelling of a field, in order of precedence."""
_ARRAY_SPELLINGS = frozenset(spelling for name in ARRAY_FIELDS for spelling in SPELLINGS[name])
_NESTED_SPELLINGS = in_both_cases(NESTED)
_KNOWN = frozenset(spelling for spellings in SPELLINGS.values() for spelling in spellings) | set(
    _NESTED_SPELLINGS
)
_KNOWN_NESTED = frozenset(spelling for name in NESTED_FIELDS for spelling in SPELLINGS[name])


def parse_request(body: Body, limits: Limits, strict: bool = False) -> GenerateRequest:
    """The request in a body. `limits` supplies the error messages for its choices.

    Raises RequestValidationError for invalid values and, where `strict`, for unknown names.
    """
    values = _form_values(body.values) if body.is_form else body.values
    objects = _nested_objects(values)
    if strict and (refusal := unknown_fields(_unknown_names(values, body, objects))):
        raise refusal
    for name in FILE_FIELDS:
        if _given(values, name) is not None:
            raise invalid(name, "Input should be a file, uploaded as multipart/form-data", "file_type")
    fields = {}
    for name in GenerateRequest.model_fields:
        value = _given(values, name)
        if value is None and name in NESTED_FIELDS:
            value = next((v for nested in objects.values() if (v := _given(nested, name)) is not None), None)
        if value is not None:
            fields[name] = value
    name, scale = (_given(values, field) for field in LONE_ADAPTER)
    if name is not None and "adapters" not in fields:
        fields["adapters"] = [lone_adapter(name, scale)]
    return checked_request(fields, limits)


def lone_adapter(name: Any, scale: Any) -> dict[str, Any]:
    """The entry of `adapters` for `lora_name` and `lora_scale`."""
    return {"name": name} if scale is None else {"name": name, "scale": scale}


def checked_request(fields: Mapping[str, Any], limits: Limits) -> GenerateRequest:
    """The request with these raw values by name. Raises RequestValidationError."""
    try:
        return GenerateRequest.model_validate(fields)
    except ValidationError as error:
        raise invalid_fields(error, limits.choice_messages) from error


def uploaded_files(body: Body) -> dict[str, BinaryIO]:
    """The uploads by field name. Raises RequestValidationError for a file where a text is expected."""
    names = {spelling: name for name in FILE_FIELDS for spelling in SPELLINGS[name]}
    for sent in body.files:
        if sent in _KNOWN and sent not in names:
            raise invalid(sent, "Input should be text, not a file", "string_type")
    return {names[sent]: file for sent, file in body.files.items() if sent in names}


def _given(values: Mapping[str, Any], name: str) -> Any:
    for spelling in SPELLINGS[name]:
        value = values.get(spelling)
        if value is not None and value != "" and not (name in FACTS and _is_unknown(value)):
            return value
    return None


def _is_unknown(fact: Any) -> bool:
    return isinstance(fact, str) and fact.strip().lower() in UNKNOWN_FACTS


def _form_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: array_in_form(value) if name in _ARRAY_SPELLINGS else last_in_form(value)
        for name, value in values.items()
    }


def last_in_form(value: Any) -> Any:
    """The last value of a repeated field of a form."""
    return value[-1] if isinstance(value, list) else value


def array_in_form(value: Any) -> Any:
    """An array in a form: a repeated field, or a JSON array."""
    if isinstance(value, list):
        return [array_in_form(text) for text in value if text]
    if value.lstrip().startswith("["):
        try:
            return bounded_json(value)
        except (ValueError, RecursionError):
            return value  # the field's own check refuses it
    return value


def _nested_objects(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    objects = {}
    for name in _NESTED_SPELLINGS:
        value = values.get(name)
        if value is None or value == "":
            continue
        if isinstance(value, str):
            try:
                value = bounded_json(value)
            except (ValueError, RecursionError) as error:
                raise invalid(name, "Input should be an object, in JSON", "dict_type") from error
        if not isinstance(value, dict):
            raise invalid(name, "Input should be an object", "dict_type")
        objects[name] = value
    return objects


def _unknown_names(
    values: Mapping[str, Any], body: Body, objects: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, ...]]:
    for name in chain(values, body.files):
        if name not in _KNOWN:
            yield (name,)
    for parent, nested in objects.items():
        for name in nested:
            if name not in _KNOWN_NESTED:
                yield parent, name
