"""From the fields that a user gives to the requests that submit them."""

import json
from collections.abc import Mapping
from typing import Any

from acestep_client.effects import Request
from acestep_client.uploads import Recording, Upload, path_on_server

GENERATE, UNDERSTAND = "/v1/music/generate", "/v1/music/understand"
SAMPLE, FORMAT = "/v1/music/sample", "/v1/music/format"
STRICT = {"X-Strict": "1"}
"""The server refuses fields that it does not know. Else a misspelt one would be ignored."""
RECORDINGS = ("src_audio", "reference_audio")


def song(caption: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request for a song of this caption."""
    return {**fields, "caption": caption} if caption else dict(fields)


def edit(task: str, source: Upload, caption: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request for a song that is made of another one."""
    return {**song(caption, fields), "task_type": task, "src_audio": source}


def window(start: float, end: float | None) -> dict[str, Any]:
    """Return the fields for the part of a recording that a repaint renews, in seconds."""
    return {"repainting_start": start, "repainting_end": end}


def request_for(path: str, fields: Mapping[str, Any], headers: Mapping[str, str]) -> Request:
    """Return the request with these fields: JSON, or multipart where a recording must be sent.

    Raises TypeError and OSError for what is no recording.
    """
    values = with_counting_seed(fields)
    files: dict[str, Recording] = {}
    for name in RECORDINGS:
        upload = values.pop(name, None)
        if upload is None:
            continue
        on_server = path_on_server(upload)
        if on_server is None:
            files[name] = Recording(upload)
        else:
            values[f"{name}_path"] = on_server
    if not files:
        return Request("POST", path, headers=headers, body=values)
    form = {name: _in_form(value) for name, value in values.items() if value is not None}
    return Request("POST", path, headers=headers, form=form, files=files)


def with_counting_seed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields, in which a seed counts even if nobody said that it is not random."""
    values = dict(fields)
    if values.get("seed") not in (None, -1, "-1"):
        values.setdefault("use_random_seed", False)
    return values


def _in_form(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
