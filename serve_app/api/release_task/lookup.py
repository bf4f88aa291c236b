"""Look-up of fields in a body: at its top level, then in the objects that may hold fields, too.

Null, the empty text and arrays of nothing else mean "not given", and do not hide a value of the same name
elsewhere.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, BinaryIO

from serve_app.api.intake.body import Body, bounded_json
from serve_app.api.intake.parsing import ARRAY_FIELDS, array_in_form, last_in_form
from serve_app.api.release_task.fields import (
    ABSENT,
    CONTAINERS,
    FACTS,
    FILES,
    FREE_TEXT,
    KNOWN,
    OBJECTS,
    PARAMETERS,
    SPELLINGS,
    UNKNOWN_FACTS,
)
from serve_app.request.fields import flag_of

_ARRAYS = frozenset({*ARRAY_FIELDS, "seed", "retake_seed"})
"""Fields that may be arrays: in JSON, as JSON text, or as a repeated field of a form."""
_ARRAY_SPELLINGS = frozenset(spelling for name in _ARRAYS for spelling in SPELLINGS[name])
_FILES = frozenset(spelling for name in FILES for spelling in SPELLINGS[name])


class Fields:
    """The given fields of a body, by their names in the job API."""

    def __init__(self, body: Body) -> None:
        values = _form_values(body.values) if body.is_form else body.values
        parameters = _object(values.get(PARAMETERS) or values.get("paramObj"))
        objects = (_object(values.get(name)) for name in OBJECTS)
        first = next((found for found in objects if found), {})
        self._levels = (values, parameters, first)
        self._files = body.files

    def get(self, name: str) -> Any:
        """The value of a field; None where it is not given."""
        for level in self._levels:
            for spelling in SPELLINGS[name]:
                value = level.get(spelling)
                if name in _ARRAYS and isinstance(value, str):
                    value = array_in_form(value)
                if is_given(name, value) and (spelling != "format" or _is_flag(value)):
                    return value
        return None

    @property
    def files(self) -> dict[str, BinaryIO]:
        """The uploads."""
        return {
            name: self._files[spelling]
            for name in FILES
            for spelling in reversed(SPELLINGS[name])
            if spelling in self._files
        }

    @property
    def misplaced_files(self) -> list[str]:
        """The uploads that stand in the place of another field."""
        return [name for name in self._files if name in KNOWN and name not in _FILES]

    @property
    def unknown(self) -> Iterator[tuple[str, ...]]:
        """The names that are no field, each as a path below the body."""
        top, *nested = self._levels
        for name in chain(top, self._files):
            if name not in KNOWN and name not in CONTAINERS:
                yield (name,)
        for level in nested:
            for name in level:
                if name not in KNOWN:
                    yield ("object", name)


def is_given(name: str, value: Any) -> bool:
    """Whether a value of a field counts as given. `name` is the field's name in the job API."""
    if value is None or value == "":
        return False
    if name in _ARRAYS and isinstance(value, list):
        return any(entry is not None and entry != "" for entry in value)
    if name in FREE_TEXT or not isinstance(value, str):
        return True
    word = value.strip().lower()
    return bool(word) and word not in ABSENT and not (name in FACTS and word in UNKNOWN_FACTS)


def _is_flag(value: Any) -> bool:
    """Whether a value of `format` is a flag. As any other text it means an audio format to some clients."""
    return not isinstance(value, str) or flag_of(value) is not None


def _form_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: array_in_form(value) if name in _ARRAY_SPELLINGS else last_in_form(value)
        for name, value in values.items()
    }


def _object(value: Any) -> dict[str, Any]:
    """An object, or the object in a JSON text; empty for anything else."""
    if isinstance(value, str):
        try:
            value = bounded_json(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}
