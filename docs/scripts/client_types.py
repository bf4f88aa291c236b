"""Writes the types of the client from the server's OpenAPI document, so that the two cannot drift apart.

python -m docs.scripts.client_types writes `fields.py` and `answers.py` in client/acestep_client; a test
checks that they are current.
"""

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from docs.scripts.reference import ROOT, application

PACKAGE = ROOT / "client" / "acestep_client"
WIDTH = 110

REQUESTS = {
    "SongFields": ("/v1/music/generate", "Fields of a request for songs."),
    "SampleFields": ("/v1/music/sample", "Fields of a request for a song as text, beside `query`."),
    "FormatFields": ("/v1/music/format", "Fields of a request for words that are rewritten."),
    "UnderstandFields": ("/v1/music/understand", "Fields of a request for the description of a recording."),
}
"""The typed dictionaries: where their fields are sent, and what they are."""
ANSWERS = (
    ("post", "/v1/music/generate"),
    ("post", "/v1/music/sample"),
    ("get", "/v1/jobs"),
    ("get", "/v1/jobs/{job_id}"),
    ("get", "/v1/models"),
    ("get", "/v1/stats"),
    ("get", "/ready"),
)
"""Operations whose answers the client reads."""
NAMES = {
    "SubmitResponse": "Submitted",
    "JobResponse": "JobSnapshot",
    "JobsResponse": "JobPage",
    "WrittenSongResponse": "WrittenSong",
    "DiTModel": "MusicModel",
    "ModelsResponse": "Models",
    "StatsResponse": "Stats",
    "ReadyResponse": "Condition",
}
"""Names of answers in the client, where they differ."""
CLOSED = {"JobState": "JobStatus"}
"""Enumerations that answers check. The others are texts, because a later server may know more of them."""
OF_THE_SERVER = frozenset({"audio_format", "lm_backend", "lm_model_path", "model"})
"""Fields whose choices depend on the server's settings."""

IN_PYTHON = {"null": "None", "true": "True", "false": "False"}

Schema = Mapping[str, Any]

FIELDS_HEAD = '''\
"""The fields of requests. This file is generated: python -m docs.scripts.client_types."""

from collections.abc import {collections}
from typing import {typing}

from acestep_client.uploads import Upload
'''
ANSWERS_HEAD = '''\
"""The answers of the server. This file is generated: python -m docs.scripts.client_types."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """An answer. What a later server adds is kept; what an earlier one does not know is None or empty."""

    model_config = ConfigDict(extra="allow", frozen=True, defer_build=True)
'''


def fields_module(api: Schema) -> str:
    """Return the text of `fields.py`."""
    parts = []
    for name, (path, description) in REQUESTS.items():
        content = api["paths"][path]["post"]["requestBody"]["content"]
        schema = content.get("multipart/form-data", content["application/json"])["schema"]
        lines = [f"class {name}(TypedDict, total=False):", f'    """{description}"""', ""]
        for field, described in schema["properties"].items():
            lines.append(f"    {field}: {_request_type(field, described, api)}")
            lines += _docstring(described["description"] + _range(described))
        parts.append("\n".join(lines) + "\n")
    body = "\n\n".join(parts)
    head = FIELDS_HEAD.format(
        collections=", ".join(name for name in ("Mapping", "Sequence") if f"{name}[" in body),
        typing=", ".join(name for name in ("Any", "Literal", "TypedDict") if re.search(rf"\b{name}\b", body)),
    )
    return f"{head}\n\n{body}"


def answers_module(api: Schema) -> str:
    """Return the text of `answers.py`."""
    schemas = api["components"]["schemas"]
    parts = [ANSWERS_HEAD]
    wanted = dict.fromkeys(name for method, path in ANSWERS for name in _answered(api, method, path))
    closed = [
        f"{alias} = Literal[{', '.join(_quoted(value) for value in schemas[name]['enum'])}]"
        for name, alias in CLOSED.items()
    ]
    parts.append("\n".join(closed) + "\n")
    for name in wanted:
        schema = schemas[name]
        lines = [f"class {NAMES.get(name, name)}(Answer):", f'    """{schema["description"]}"""', ""]
        for field, described in schema["properties"].items():
            kind = _answer_type(described, schemas)
            lines.append(f"    {field}: {kind}{_default(kind)}")
            if "description" in described:
                lines += _docstring(described["description"])
        parts.append("\n".join(lines) + "\n")
    return "\n\n".join(parts)


def _answered(api: Schema, method: str, path: str) -> Iterator[str]:
    """The schemas in an operation's answer, those that others refer to first."""
    content = api["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
    yield from _referred(content, api["components"]["schemas"])


def _referred(schema: Any, schemas: Schema) -> Iterator[str]:
    if isinstance(schema, list):
        for part in schema:
            yield from _referred(part, schemas)
    elif isinstance(schema, dict):
        name = schema.get("$ref", "").rpartition("/")[2]
        if name:
            yield from _referred(schemas[name], schemas)
            if "properties" in schemas[name]:
                yield name
        for part in schema.values():
            yield from _referred(part, schemas)


def _request_type(field: str, schema: Schema, api: Schema) -> str:
    if schema.get("format") == "binary":
        return "Upload"
    if field == "task_type":
        return _choice(api["components"]["schemas"]["Task"]["enum"])
    kinds = dict.fromkeys(
        _plain_type(option, api["components"]["schemas"], field in OF_THE_SERVER)
        for option in schema.get("anyOf", [schema])
    )
    return " | ".join(kinds)


def _plain_type(schema: Schema, schemas: Schema, is_open: bool) -> str:
    if "$ref" in schema:
        return _plain_type(schemas[schema["$ref"].rpartition("/")[2]], schemas, is_open)
    if "enum" in schema and not is_open:
        return _choice(schema["enum"])
    match schema.get("type"):
        case "array":
            return f"Sequence[{_plain_type(schema.get('items', {}), schemas, is_open)}]"
        case "object":
            return "Mapping[str, Any]"
        case "string":
            return "str"
        case "integer":
            return "int"
        case "number":
            return "float"
        case "boolean":
            return "bool"
        case "null":
            return "None"
    return "Any"


def _answer_type(schema: Schema, schemas: Schema) -> str:
    if "anyOf" in schema:
        return " | ".join(_answer_type(option, schemas) for option in schema["anyOf"])
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return NAMES.get(name, name) if "properties" in schemas[name] else CLOSED.get(name, "str")
    match schema.get("type"):
        case "array":
            return f"list[{_answer_type(schema['items'], schemas)}]"
        case "object":
            values = schema.get("additionalProperties", True)
            return f"dict[str, {_answer_type(values, schemas) if isinstance(values, dict) else 'Any'}]"
    return _plain_type(schema, schemas, is_open=True)


def _default(kind: str) -> str:
    if kind.endswith("None"):
        return " = None"
    if kind.startswith("list["):
        return " = Field(default_factory=list)"
    return " = Field(default_factory=dict)" if kind.startswith("dict[") else ""


def _choice(values: list[str]) -> str:
    return f"Literal[{', '.join(map(_quoted, values))}]"


def _quoted(value: str) -> str:
    return f'"{value}"'


def _range(schema: Schema) -> str:
    """A sentence on the default of a field."""
    default = schema.get("default")
    return "" if default in (None, "") or isinstance(default, list | dict) else f" Default: {default}."


def _docstring(text: str) -> list[str]:
    python = re.sub(r"\b(null|true|false)\b", lambda match: IN_PYTHON[match[1]], " ".join(text.split()))
    lines = textwrap.wrap(python, WIDTH - 7, break_long_words=False)
    if len(lines) == 1 and len(lines[0]) <= WIDTH - 10:
        return [f'    """{lines[0]}"""']
    return [f'    """{lines[0]}', *(f"    {line}" for line in lines[1:]), '    """']


def modules() -> dict[Path, str]:
    """Return the text of each generated file."""
    api = application().openapi()
    texts = {"fields.py": fields_module(api), "answers.py": answers_module(api)}
    return {PACKAGE / name: _formatted(text) for name, text in texts.items()}


def _formatted(text: str) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    command = [str(ruff), "format", "--config", str(ROOT / "pyproject.toml"), "-"]
    formatted: str = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    return formatted


if __name__ == "__main__":
    for file, text in modules().items():
        file.write_text(text)
