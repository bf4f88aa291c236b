"""From a chat completion's body to the fields of `/release_task`."""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast

from fastapi import HTTPException

from configs.domain import SOURCE_TASKS, Task
from deployments.common.temporary_files import temporary_files
from serve_app.api.intake.body import MAX_TEXT_BYTES, Body
from serve_app.api.intake.multipart import MEMORY_BYTES
from serve_app.api.release_task.fields import SPELLINGS
from serve_app.api.release_task.lookup import Fields, is_given
from serve_app.api.release_task.mapping import DEFAULTS, TASKS
from serve_app.request.errors import invalid
from serve_app.request.fields import flag_of

CHAT_DEFAULTS = {**DEFAULTS, "batch_size": 1, "lm_cfg_scale": 2.0}
"""Defaults that differ from the job API's."""
CHAT_FIELDS = ("messages", "stream", "stream_options", "modalities", "max_tokens", "stop", "audio_config")
"""Fields that only chat completions have. Those that are not read here have no effect."""
SAMPLING = {"temperature": "lm_temperature", "top_p": "lm_top_p", "top_k": "lm_top_k"}
AUDIO_CONFIG = {"format": "audio_format", "duration": "audio_duration"}
"""Fields of `audio_config` whose names mean something else at the top level."""
FIELD_NAMES = {spelling: name for name, spellings in SPELLINGS.items() for spelling in spellings}
"""The name of a field in the job API, by each of its spellings."""
MATERIAL = (
    "caption",
    "global_caption",
    "lyrics",
    "sample_query",
    "audio_code_string",
    "src_audio_path",
    "reference_audio_path",
)
"""Fields of which each one is enough to make a song from."""
INSTRUMENTAL = "[inst]"
NOTHING_TO_MAKE = "There is nothing to make: send a text, lyrics, audio, or sample_mode"

_SECTIONS = re.compile(r"\[(verse|chorus|bridge|intro|outro|hook|pre-chorus|refrain|inst)", re.IGNORECASE)
_DATA_URL = re.compile(r"\s*data:[^,]{0,200},")
MAX_MODEL_LENGTH = 100
"""Characters of the model's name that the answer repeats."""
LYRIC_LINES = 4
LYRIC_LINE_LENGTH = 60
"""Four or more lines that are shorter than this on average are lyrics."""


@dataclass(frozen=True)
class Message:
    """The content of the last user message."""

    text: str = ""
    recordings: list[bytes] = field(default_factory=list)


@dataclass(frozen=True)
class ChatRequest:
    """A chat completion to be made."""

    body: Body
    """Fields and files, as `/release_task` takes them. The caller closes the files."""
    stream: bool
    model: str | None
    """The model's name as it was asked for."""
    text: str


def chat_request(body: dict[str, Any], text_bytes: int) -> ChatRequest:
    """The request in a JSON object of `text_bytes` bytes.

    Raises HTTPException with 400 where there is nothing to make or audio is not base64, with 413 where there
    is more text than in any other request, or RequestValidationError for messages of another form.
    """
    values = {name: value for name, value in body.items() if name not in CHAT_FIELDS}
    message = _last_user_message(body.get("messages"))
    if len(message.text) + _text_length([values, body.get("audio_config")]) > MAX_TEXT_BYTES:
        raise HTTPException(
            413, f"The text is longer than {MAX_TEXT_BYTES:,} characters (the content of recordings aside)"
        )
    config = body.get("audio_config")
    if config is not None and not isinstance(config, dict):
        raise invalid("audio_config", "Input should be an object", "dict_type")
    given: dict[str, Any] = config or {}
    for sent, value in given.items():
        name = AUDIO_CONFIG.get(sent, FIELD_NAMES.get(sent, sent))
        if is_given(name, value):
            values[SPELLINGS.get(name, (name,))[0]] = value
    for name, target in SAMPLING.items():
        if (drawn := values.pop(name, None)) is not None:
            values.setdefault(target, drawn)
    fields = Fields(Body(values))
    if fields.get("seed") is not None and fields.get("use_random_seed") is None:
        values["use_random_seed"] = False
    values |= _placed_text(message.text, fields)
    files = _placed(message.recordings, fields)
    fields = Fields(Body(values))
    if not files and not flag_of(fields.get("sample_mode")) and not any(map(fields.get, MATERIAL)):
        raise HTTPException(400, NOTHING_TO_MAKE)
    model = body.get("model")
    return ChatRequest(
        body=Body(values, files, text_bytes=text_bytes),
        stream=bool(flag_of(body.get("stream"))),
        model=model[:MAX_MODEL_LENGTH] if isinstance(model, str) and model else None,
        text=message.text,
    )


def _last_user_message(messages: Any) -> Message:
    if messages is None:
        return Message()
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        raise invalid("messages", "Input should be an array of objects", "list_type")
    content = next((one.get("content") for one in reversed(messages) if one.get("role") == "user"), None)
    if content is None:
        return Message()
    if isinstance(content, str):
        return Message(content.strip())
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise invalid("messages", "The content of a message should be a text or an array of parts")
    texts = [part["text"] for part in content if isinstance(part.get("text"), str)]
    return Message("\n".join(texts).strip(), list(_recordings(content)))


def _recordings(parts: list[dict[str, Any]]) -> Iterator[bytes]:
    for part in parts:
        if part.get("type") != "input_audio":
            continue
        audio = part.get("input_audio")
        data = audio.get("data") if isinstance(audio, dict) else None
        try:
            if not isinstance(data, str) or not data:
                raise ValueError
            url = _DATA_URL.match(data)
            text = "".join(data[url.end() if url else 0 :].split())
            yield base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError) as error:
            raise HTTPException(400, "input_audio.data should be base64 or a data URL") from error


def _placed_text(text: str, fields: Fields) -> dict[str, Any]:
    """The text of the message by the names of the fields that it is meant for."""
    placed: dict[str, Any] = {}
    if flag_of(fields.get("sample_mode")):
        placed["sample_query"] = text
    elif fields.get("lyrics"):
        placed["prompt"] = text
    else:
        placed["prompt"], placed["lyrics"] = split_text(text)
    placed = {name: words for name, words in placed.items() if words}
    if flag_of(fields.get("instrumental")):
        # Chat completions have a word of their own, so the flag itself must not act as well.
        placed |= {"lyrics": INSTRUMENTAL, "instrumental": False}
    return placed


def split_text(text: str) -> tuple[str, str]:
    """The prompt and the lyrics in a text: by tags, or else by its looks."""
    prompts, lyrics = _tagged("prompt", text), _tagged("lyrics", text)
    if prompts or lyrics:
        prompt = prompts[0].inside(text) if prompts else _without(lyrics, text)
        return prompt, lyrics[0].inside(text) if lyrics else ""
    lines = [line for line in text.splitlines() if line.strip()]
    short = len(lines) >= LYRIC_LINES and sum(map(len, lines)) / len(lines) < LYRIC_LINE_LENGTH
    return ("", text) if short or _SECTIONS.search(text) else (text, "")


@dataclass(frozen=True)
class _Tagged:
    """A part of a text between a tag and its end."""

    opening: re.Match[str]
    closing: re.Match[str]

    def inside(self, text: str) -> str:
        return text[self.opening.end() : self.closing.start()].strip()


def _tagged(name: str, text: str) -> list[_Tagged]:
    """The parts `<name>…</name>` of a text that have no such tag inside."""
    tags = re.finditer(rf"<(/?){name}>", text, re.IGNORECASE)
    return [_Tagged(first, second) for first, second in pairwise(tags) if not first[1] and second[1]]


def _without(parts: list[_Tagged], text: str) -> str:
    """The text without these parts and their tags."""
    begins = [0, *(part.closing.end() for part in parts)]
    ends = [*(part.opening.start() for part in parts), len(text)]
    return "".join(text[begin:end] for begin, end in zip(begins, ends, strict=True)).strip()


def _text_length(value: Any) -> int:
    """The characters of all texts in a JSON value, names included."""
    length, left = 0, [value]
    while left:
        match left.pop():
            case str() as text:
                length += len(text)
            case dict() as entries:
                left += entries.keys()
                left += entries.values()
            case list() as entries:
                left += entries
    return length


def _placed(recordings: list[bytes], fields: Fields) -> dict[str, BinaryIO]:
    """The recordings as files, by the fields that they are meant for. A song from text has no source."""
    task = str(fields.get("task_type") or Task.TEXT2MUSIC).strip().lower()
    has_source = TASKS.get(task, task) in SOURCE_TASKS or bool(flag_of(fields.get("flow_edit_morph")))
    names = ("src_audio", "reference_audio") if has_source else ("reference_audio",)
    return {name: _file(data) for name, data in zip(names, recordings, strict=False)}


def _file(data: bytes) -> BinaryIO:
    """A temporary file with a content. It is deleted when it is closed. Raises StorageError."""
    with temporary_files():
        file = cast(BinaryIO, SpooledTemporaryFile(MEMORY_BYTES))  # noqa: SIM115, closed by the caller
        file.write(data)
        file.seek(0)
    return file
