"""The OpenAPI request body of `POST /v1/music/generate`: three content types, this server's limits."""

from typing import Any

from serve_app.api.intake.body import JSON, MULTIPART, URLENCODED
from serve_app.api.intake.parsing import ALIASES, FACTS, FILE_FIELDS, NESTED, UNKNOWN_FACTS
from serve_app.request.capabilities import Limits
from serve_app.request.schemas import GenerateRequest


def request_body(limits: Limits) -> dict[str, Any]:
    """The `requestBody` object."""
    schema = _schema(limits)
    uploads = {
        name: {
            "type": "string",
            "format": "binary",
            "description": f"A recording; it takes precedence over `{name}_path`.",
        }
        for name in FILE_FIELDS
    }
    with_uploads = {**schema, "properties": {**schema["properties"], **uploads}}
    return {
        "description": _description(),
        "content": {
            JSON: {"schema": schema, "example": {"caption": "upbeat pop song", "lyrics": "Hello world"}},
            MULTIPART: {"schema": with_uploads},
            URLENCODED: {"schema": schema},
        },
    }


def _schema(limits: Limits) -> dict[str, Any]:
    schema = GenerateRequest.model_json_schema()
    tasks = schema.pop("$defs")["Task"]
    del schema["additionalProperties"]
    properties = schema["properties"]
    properties["task_type"] = {
        **tasks,
        "enum": list(limits.tasks),
        "default": properties["task_type"]["default"],
        "description": properties["task_type"]["description"],
    }
    properties["audio_format"]["enum"] = list(limits.audio_formats)
    properties["lm_backend"]["enum"] = list(limits.backends)
    properties["model"]["anyOf"][0]["enum"] = [dit.name for dit in limits.dits]
    properties["lm_model_path"]["anyOf"][0]["enum"] = list(limits.language_models)
    properties["audio_duration"]["anyOf"][0]["maximum"] = limits.max_duration
    properties["batch_size"]["anyOf"][0]["maximum"] = limits.max_batch_size
    return schema


def _description() -> str:
    aliases = "; ".join(f"{name}: {', '.join(others)}" for name, others in ALIASES.items())
    return (
        "Every field may also be written in camelCase. "
        f"Aliases: {aliases}. An object {' or '.join(NESTED)} may carry bpm, key_scale, time_signature and "
        "audio_duration; the top level wins. Numbers and flags may be written as text, whole numbers also as "
        f'42.0; null and the empty text are "not given". Of {", ".join(FACTS)} so are the texts '
        f"{', '.join(UNKNOWN_FACTS)} in any case. Unknown fields are ignored."
    )
