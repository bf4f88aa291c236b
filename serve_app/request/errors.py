"""Requests that cannot be used: each names the fields of the body that are wrong, without their values.

They are FastAPI's own exception, so that a wrong value is answered alike whoever finds it.
"""

from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError


def invalid(field: str, message: str, kind: str = "value_error") -> RequestValidationError:
    """A 422 that names one field of the body."""
    return RequestValidationError([{"loc": ("body", field), "msg": message, "type": kind}])


def invalid_fields(error: ValidationError, messages: Mapping[str, str]) -> RequestValidationError:
    """What pydantic found, without the values that caused it, the first of each field.

    `messages` by field replace pydantic's own.
    """
    details: dict[str, dict[str, Any]] = {}
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        name = str(item["loc"][0])
        message = messages.get(name, item["msg"])
        details.setdefault(name, {"loc": ("body", name), "msg": message, "type": item["type"]})
    return RequestValidationError(list(details.values()))
