"""The tools that agents have: their names, descriptions and arguments, and the requests that they stand for.

A tool that makes something is a request for music under another name. Its arguments are fields of the API,
with the API's own schemas, and are checked by the API's own parser.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serve_app.api.intake.openapi import request_schema
from serve_app.request.capabilities import Limits

DEFAULT_WAIT, LONGEST_WAIT = 600, 3600
"""Seconds that a call follows its job."""

_WAIT = Annotated[
    float,
    Field(
        ge=0,
        le=LONGEST_WAIT,
        allow_inf_nan=False,
        description="Seconds to follow the job; after them the answer tells where it stands, and it goes on. "
        "0 does not wait.",
    ),
]
_SEED = "A whole number from 0 makes the same song again; song i of the batch has seed + i. Else random."
_SONG = "A song of this server: its path `/v1/audio/...` from an earlier answer."
_MUSIC = (
    *("audio_duration", "bpm", "key_scale", "time_signature", "vocal_language", "thinking"),
    *("batch_size", "seed", "inference_steps", "model", "audio_format"),
)


class Waiting(BaseModel):
    """The argument of every tool that follows a job."""

    model_config = ConfigDict(extra="allow")

    wait_seconds: _WAIT = DEFAULT_WAIT


class Extension(Waiting):
    """The arguments of `extend_song` that are no fields of the API."""

    song: str = Field(description=_SONG)
    seconds: float = Field(gt=0, le=600, description="Seconds of new music.")
    at: Literal["start", "end"] = Field("end", description="Where the new music goes.")


class Following(BaseModel):
    """The arguments of `follow_job`."""

    model_config = ConfigDict(extra="forbid")

    job_id: str = Field(description="The id of a job from an earlier answer.")
    wait_seconds: _WAIT = DEFAULT_WAIT


class Cancelling(BaseModel):
    """The argument of `cancel_job`."""

    model_config = ConfigDict(extra="forbid")

    job_id: str = Field(description="The id of a job from an earlier answer.")


@dataclass(frozen=True)
class MakingTool:
    """A tool that submits a job and follows it."""

    name: str
    title: str
    description: str
    fields: tuple[str, ...]
    """The fields of the API that the tool offers under their own names."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Values of other fields."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """The fields of the API that the tool offers under other names, by these."""
    arguments: type[Waiting] = Waiting
    """The arguments that are no fields of the API."""
    required: tuple[str, ...] = ()

    def input_schema(self, limits: Limits) -> dict[str, Any]:
        """The JSON schema of the arguments, with the limits of this server."""
        known = request_schema(limits)["properties"]
        properties = {name: known[name] for name in self.fields}
        properties |= {name: known[api_name] for name, api_name in self.renamed.items()}
        for name, text in {"seed": _SEED, "song": _SONG}.items():
            if name in properties:
                properties[name] = {**properties[name], "description": text}
        own = self.arguments.model_json_schema()
        return {
            "type": "object",
            "properties": {**properties, **own["properties"]},
            "required": [*self.required, *own.get("required", ())],
        }

    def values(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a request by the API's names, without the tool's own arguments.

        A seed that is given is used: the API's `use_random_seed`, which is true by default, would ignore it.
        """
        own = self.arguments.model_fields
        named = {self.renamed.get(name, name): value for name, value in arguments.items() if name not in own}
        seeded = {"use_random_seed": False} if "seed" in named else {}
        return {**seeded, **named, **self.fixed}

    def argument(self, api_name: str) -> str:
        """The argument that stands for a field of the API."""
        return next((name for name, known in self.renamed.items() if known == api_name), api_name)


_SOURCE = {"song": "src_audio_path"}

MAKE = MakingTool(
    "make_song",
    "Make a song",
    "Makes music from a caption (style, mood, instruments) and lyrics, and answers with links to the songs. "
    "A sentence in `sample_query` lets the language model write caption and lyrics instead.",
    ("caption", "lyrics", "sample_query", *_MUSIC),
)
REPAINT = MakingTool(
    "repaint_song",
    "Renew a part of a song",
    "Renews the part of a song between `start` and `end`, in seconds, and keeps the rest sample for sample.",
    ("caption", "lyrics", "seed", "batch_size", "audio_format", "repaint_mode"),
    {"task_type": "repaint"},
    {**_SOURCE, "start": "repainting_start", "end": "repainting_end"},
    required=("song", "start", "end"),
)
COVER = MakingTool(
    "cover_song",
    "Make a cover of a song",
    "Makes another version of a song in the style of `caption`. `strength` is the share of the work that "
    "follows the source: 1 stays close to it.",
    ("caption", "lyrics", *_MUSIC),
    {"task_type": "cover"},
    {**_SOURCE, "strength": "audio_cover_strength"},
    required=("song",),
)
EXTEND = MakingTool(
    "extend_song",
    "Make a song longer",
    "Puts new music before or after a song and keeps the song itself.",
    ("caption", "lyrics", "seed", "batch_size", "audio_format"),
    {"task_type": "repaint"},
    arguments=Extension,
)
DESCRIBE = MakingTool(
    "describe_song",
    "Describe a song",
    "Lets the language model hear a song: the answer has caption, lyrics, language, tempo, key and metre.",
    ("lm_model_path",),
    {"output": "description"},
    _SOURCE,
    required=("song",),
)
MAKING_TOOLS = {tool.name: tool for tool in (MAKE, REPAINT, COVER, EXTEND, DESCRIBE)}

FOLLOW, CANCEL = "follow_job", "cancel_job"
FOLLOW_TITLE, CANCEL_TITLE = "Follow a job", "Cancel a job"
FOLLOW_DESCRIPTION = (
    "Waits for a job that another call has begun, and tells its progress. At the end the answer is the same "
    "as that of the call that began it."
)
CANCEL_DESCRIPTION = "Ends a job that waits or runs. Its songs are lost. Repeating the call has no effect."
