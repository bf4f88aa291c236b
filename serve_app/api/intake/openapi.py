"""The OpenAPI request bodies of the routes for music: three content types, this server's limits."""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from serve_app.api.intake.body import JSON, MULTIPART, URLENCODED
from serve_app.api.intake.parsing import ALIASES, FACTS, FILE_FIELDS, NESTED, UNKNOWN_FACTS
from serve_app.request.capabilities import Limits
from serve_app.request.schemas import MAX_CAPTION_LENGTH, GenerateRequest

_FACTS = ("vocal_language", "bpm", "key_scale", "time_signature", "audio_duration")
_SAMPLING = ("lm_model_path", "lm_backend", "lm_temperature", "lm_top_k", "lm_top_p", "lm_repetition_penalty")
_SEED = ("use_random_seed", "seed")
SAMPLE_FIELDS = (*_FACTS, *_SAMPLING, *_SEED)
"""Fields of a request for music that also act on a song that is written from a sentence."""
FORMAT_FIELDS = ("caption", "lyrics", *SAMPLE_FIELDS)
"""The same for words that are rewritten."""
UNDERSTAND_FIELDS = (
    "src_audio_path",
    "vocal_language",
    "bpm",
    "key_scale",
    "time_signature",
    *_SAMPLING,
    *_SEED,
    "callback_url",
    "callback_events",
    "priority",
    "start_within_seconds",
    "keep_seconds",
)
"""The same for a recording that is described."""
QUERY_FIELDS: dict[str, Any] = {
    "query": {
        "type": "string",
        "default": "",
        "maxLength": MAX_CAPTION_LENGTH,
        "description": "A sentence about the song; empty lets the LM choose.",
    },
    "instrumental": {
        "type": "boolean",
        "default": False,
        "description": "true: the song has no lyrics.",
    },
}
"""The fields that only a song from a sentence has."""


def request_body(
    limits: Limits,
    fields: Sequence[str] | None = None,
    uploaded: Sequence[str] = FILE_FIELDS,
    own: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The `requestBody` object.

    `fields` are the fields of a request for music that it has, by default all; `uploaded` its files; `own`
    the schemas of fields that a request for music does not have.
    """
    schema = request_schema(limits)
    if fields is not None:
        kept = {name: schema["properties"][name] for name in fields}
        schema["properties"] = {**(own or {}), **kept}
    uploads = {
        name: {
            "type": "string",
            "format": "binary",
            "description": f"A recording; it takes precedence over `{name}_path`.",
        }
        for name in uploaded
    }
    with_uploads = {**schema, "properties": {**schema["properties"], **uploads}}
    return {
        "description": _description(),
        "content": {
            JSON: {"schema": schema} | (_EXAMPLE if fields is None else {}),
            MULTIPART: {"schema": with_uploads},
            URLENCODED: {"schema": schema},
        },
    }


_EXAMPLE = {"example": {"caption": "upbeat pop song", "lyrics": "Hello world"}}


@functools.cache
def _schema_of_the_model() -> str:
    """The JSON schema of a request, which takes pydantic 15 ms to write."""
    return json.dumps(GenerateRequest.model_json_schema())


def request_schema(limits: Limits) -> dict[str, Any]:
    """The JSON schema of a request, with the limits of this server."""
    schema: dict[str, Any] = json.loads(_schema_of_the_model())
    definitions = schema.pop("$defs")
    tasks = definitions["Task"]
    del schema["additionalProperties"]
    properties = schema["properties"]
    properties["task_type"] = {
        **tasks,
        "enum": list(limits.tasks),
        "default": properties["task_type"]["default"],
        "description": properties["task_type"]["description"],
    }
    properties["output"] = {
        "type": "string",
        "enum": definitions["Output"]["enum"],
        "default": properties["output"]["default"],
        "description": properties["output"]["description"],
    }
    properties["audio_format"]["enum"] = list(limits.audio_formats)
    properties["lm_backend"]["enum"] = list(limits.backends)
    properties["model"]["anyOf"][0]["enum"] = [dit.name for dit in limits.dits]
    properties["lm_model_path"]["anyOf"][0]["enum"] = list(limits.language_models)
    properties["audio_duration"]["anyOf"][0]["maximum"] = limits.max_duration
    properties["batch_size"]["anyOf"][0]["maximum"] = limits.max_batch_size
    properties["keep_seconds"]["anyOf"][0]["maximum"] = limits.record_seconds
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
