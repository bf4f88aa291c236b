"""Errors of requests. Each names the invalid fields of the body, without their values.

They are FastAPI's own exception, so that all invalid values are answered in the same form.
"""

from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError


class TextsTooLongError(RequestValidationError):
    """The texts of a request do not fit the context of the language model."""


class WindowTooLongError(RequestValidationError):
    """A repaint would make the song longer than the server's maximum."""

    def __init__(self, field: str, message: str, nearest: float) -> None:
        """`nearest` is the value of `field` with which the song has the greatest length."""
        super().__init__([{"loc": ("body", field), "msg": message, "type": "value_error"}])
        self.field = field
        self.nearest = nearest


def invalid(field: str, message: str, kind: str = "value_error") -> RequestValidationError:
    """A validation error (422) that names one field of the body."""
    return RequestValidationError([{"loc": ("body", field), "msg": message, "type": kind}])


def invalid_fields(error: ValidationError, messages: Mapping[str, str]) -> RequestValidationError:
    """The first of pydantic's errors for each field, without the values that caused them.

    `messages` maps field names to messages that replace pydantic's.
    """
    details: dict[str, dict[str, Any]] = {}
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        name = str(item["loc"][0])
        message = messages.get(name, item["msg"])
        details.setdefault(name, {"loc": ("body", name), "msg": message, "type": item["type"]})
    return RequestValidationError(list(details.values()))
