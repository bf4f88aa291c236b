"""From the fields of `/release_task` to a request of the job API: the one place that translates them.

The translation knows names, defaults and leniency. Whether a request is valid is decided by the job API's own
schema, to which every value goes in the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from configs.domain import INSTRUMENTAL, SOURCE_TASKS, TRACKS, WINDOW_TASKS, Task
from deployments.checkpoints.catalog import MAX_CUSTOM_TURBO_STEPS, Variant
from serve_app.api.errors import unknown_fields
from serve_app.api.intake.body import Body
from serve_app.api.intake.openapi import request_schema
from serve_app.api.intake.parsing import LONE_ADAPTER, checked_request, lone_adapter
from serve_app.api.release_task.fields import (
    ANY_VALUE,
    FILES,
    FREE_TEXT,
    OUTPUT_FLAGS,
    REQUEST_FIELDS,
    WITHOUT_EFFECT,
)
from serve_app.api.release_task.lenient import Bounds, Leniency, number_in
from serve_app.api.release_task.lookup import Fields
from serve_app.api.release_task.songs import song_named
from serve_app.request.capabilities import Limits
from serve_app.request.errors import WindowTooLongError, invalid
from serve_app.request.fields import MAX_ADAPTER_SCALE, MAX_ADAPTERS, MAX_STEPS, flag_of
from serve_app.request.schemas import GenerateRequest, Output

DEFAULTS: Mapping[str, Any] = {"lm_cfg_scale": 2.5, "use_cot_caption": True, "use_cot_language": True}
"""Defaults that differ from the job API's."""
SILENT_TASKS = frozenset({Task.LEGO, Task.REPAINT, Task.COMPLETE, Task.COVER})
"""Tasks that work on silence, too."""
TASKS = {"cover-nofsq": Task.COVER, "repainting": Task.REPAINT, "audio2audio": Task.COVER}
"""Other names of tasks."""
FORMATS = {"m4a": "aac"}
"""Other names of audio formats."""
SEEDS = ("seed", "retake_seed")
"""Fields with a seed for each song."""
SONG_PATHS = ("src_audio_path", "reference_audio_path")
"""Fields that may name a song of this server."""
WHOLE_SOURCE = "repainting_end is not after repainting_start: the whole source was renewed."


@dataclass(frozen=True)
class Mapped:
    """A request of the job API, with the files of the body that it uses."""

    request: GenerateRequest
    uploads: dict[str, BinaryIO]
    notes: tuple[str, ...] = ()
    """One sentence for each value that was changed or has no effect."""


class RequestMapper:
    """Translates bodies, with the limits of one server."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._schema: dict[str, Any] = request_schema(limits)["properties"]
        is_distilled = any(dit.variant is Variant.TURBO for dit in limits.dits)
        self._most_timesteps = MAX_CUSTOM_TURBO_STEPS if is_distilled else MAX_STEPS

    def __call__(self, body: Body, strict: bool, defaults: Mapping[str, Any] = DEFAULTS) -> Mapped:
        """The request in a body. Where `strict`, bad values and unknown names are refused as by the job API.

        Raises RequestValidationError.
        """
        fields = Fields(body)
        if strict and (refusal := unknown_fields(fields.unknown)):
            raise refusal
        leniency = Leniency()
        values = _translated(fields)
        if not strict:
            values = self._usable(values, leniency, defaults)
        uploads = _used_uploads(fields, values, leniency)
        _note_fields_without_effect(fields, leniency)
        request = checked_request({**defaults, **values}, self._limits)
        return Mapped(request, uploads, tuple(leniency.notes))

    def _usable(
        self, values: dict[str, Any], leniency: Leniency, defaults: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The values, each replaced by the nearest that the job API takes; those without one are left out."""
        usable = {
            name: used
            for name, value in values.items()
            if (used := self._usable_value(name, value, leniency)) is not None
        }
        _settle_interval(usable, leniency)
        _settle_window(usable, leniency)
        _settle_level(usable, leniency, _bounds(self._schema["normalization_db"]))
        songs = self._songs(usable, defaults)
        for name in SEEDS:
            if name in usable:
                usable[name] = leniency.seeds(name, usable[name], songs)
        if "audio_code_string" in usable:
            usable["audio_code_string"] = leniency.codes(usable["audio_code_string"], songs)
        return usable

    def _songs(self, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> int:
        """The number of songs, or 1 for an analysis."""
        if Output(values.get("output", Output.SONGS)) is not Output.SONGS:
            return 1
        songs = values.get("batch_size", defaults.get("batch_size", self._limits.default_batch_size))
        return songs if isinstance(songs, int) else 1

    def _usable_value(self, name: str, value: Any, leniency: Leniency) -> Any:
        schema = self._schema[name]
        match name:
            case "model":
                model = leniency.choice(name, str(value), (*self._limits.choices["model"], "default"))
                return None if model == "default" else model
            case "lm_model_path" | "lm_backend":
                return leniency.choice(name, value, self._limits.choices[name])
            case (
                "infer_method"
                | "repaint_mode"
                | "chunk_mask_mode"
                | "sampling"
                | "sampler_mode"
                | "dcw_mode"
                | "dcw_wavelet"
            ):
                return leniency.choice(name, value, tuple(schema["enum"]))
            case "vocal_language":
                return leniency.language(value)
            case "key_scale":
                return leniency.key(value)
            case "time_signature":
                return leniency.metre(value)
            case "track_name":
                names = leniency.known_names(name, [value], TRACKS)
                return value if names == [value] else (names or [None])[0]
            case "track_classes":
                return leniency.known_names(name, value, TRACKS)
            case "bpm" | "audio_duration":
                return leniency.positive(name, value, _bounds(schema))
            case "lm_top_p":  # beyond its range it is off
                return leniency.share(name, value)
            case "adapters":
                return _usable_adapters(value, leniency)
            case "batch_size":
                return leniency.number(name, value, Bounds(True, 1, self._limits.max_batch_size))
            case "timesteps":
                return leniency.timesteps(value, self._most_timesteps)
            case "seed" | "retake_seed" | "repainting_end" | "normalization_db":  # settled with others
                return value
        if name in FREE_TEXT:
            return leniency.text("prompt" if name == "caption" else name, value, schema["maxLength"])
        if any(option.get("type") == "boolean" for option in schema.get("anyOf", [schema])):
            return leniency.flag(name, value)
        if (bounds := Bounds.of(schema)) is not None:
            return leniency.number(name, value, bounds)
        return value


def _usable_adapters(value: Any, leniency: Leniency) -> Any:
    """The adapters with their scales inside the range; what is no list of adapters stays, and is refused.

    So is a list of too many.
    """
    entries = value if isinstance(value, list) else [value]
    if len(entries) > MAX_ADAPTERS:
        return value
    usable = []
    for entry in entries:
        if isinstance(entry, dict) and entry.get("scale") is not None:
            bounds = Bounds(whole=False, low=-MAX_ADAPTER_SCALE, high=MAX_ADAPTER_SCALE)
            scale = leniency.number("scale", entry["scale"], bounds)
            entry = {"name": entry.get("name"), "scale": 1.0 if scale is None else scale}
        usable.append(entry)
    return usable


def _bounds(schema: Mapping[str, Any]) -> Bounds:
    bounds = Bounds.of(schema)
    assert bounds is not None
    return bounds


def _translated(fields: Fields) -> dict[str, Any]:
    """The given values, with the names of tasks, formats, outputs and songs that the job API knows."""
    values = {name: value for name in REQUEST_FIELDS if (value := fields.get(name)) is not None}
    if flag_of(fields.get("instrumental")):
        values["lyrics"] = INSTRUMENTAL
    if "caption" not in values and "global_caption" in values:
        values["caption"] = values["global_caption"]
    for flag, output in OUTPUT_FLAGS.items():
        if flag_of(fields.get(flag)):
            values.setdefault("output", output)
    if isinstance(task := values.get("task_type"), str):
        word = task.strip().lower()
        values["task_type"] = TASKS.get(word, word)
        if word == "cover-nofsq":
            values["cover_nofsq"] = True
    if isinstance(audio_format := values.get("audio_format"), str):
        word = audio_format.strip().lower()
        values["audio_format"] = FORMATS.get(word, word)
    name, scale = map(fields.get, LONE_ADAPTER)
    if name is not None:
        values.setdefault("adapters", [lone_adapter(name, scale)])
    for name in SONG_PATHS:
        if isinstance(path := values.get(name), str) and (song := song_named(path)):
            values[name] = song.path
    return values


def _settle_interval(values: dict[str, Any], leniency: Leniency) -> None:
    """Drop an interval of guidance that ends before it starts."""
    start, end = values.get("cfg_interval_start", 0.0), values.get("cfg_interval_end", 1.0)
    if _are_numbers(start, end) and end < start:
        values.pop("cfg_interval_start", None)
        values.pop("cfg_interval_end", None)
        leniency.note("cfg_interval_end is before cfg_interval_start: guidance acts at all timesteps.")


def _settle_window(values: dict[str, Any], leniency: Leniency) -> None:
    """Resolve the end of a repaint: -1, and 0 where the start is not negative, mean the end of the source."""
    start, end = values.get("repainting_start", 0.0), values.pop("repainting_end", None)
    if end is None:
        return
    end = leniency.number("repainting_end", end, Bounds(whole=False))
    if end is None or end == -1 or (end == 0 and _are_numbers(start) and start >= 0):
        return
    if not _are_numbers(start, end):
        values["repainting_end"] = end
    elif end <= start:
        values.pop("repainting_start", None)
        if _task(values) in WINDOW_TASKS:
            leniency.note(WHOLE_SOURCE)
    else:
        values["repainting_end"] = leniency.number("repainting_end", end, Bounds(whole=False, low=0.0))


def _settle_level(values: dict[str, Any], leniency: Leniency, bounds: Bounds) -> None:
    """Resolve the peak of the songs: the original does not normalise to one above full scale."""
    if "normalization_db" not in values:
        return
    number = number_in(values["normalization_db"])
    if number is not None and number > 0 and not isinstance(values["normalization_db"], bool):
        del values["normalization_db"]
        values["enable_normalization"] = False
        leniency.note(f"normalization_db '{number:g}' is above 0: the songs were not normalised.")
        return
    peak = leniency.number("normalization_db", values.pop("normalization_db"), bounds)
    if peak is not None:
        values["normalization_db"] = peak


def with_fitting_window(mapped: Mapped, error: WindowTooLongError) -> Mapped:
    """The same request with the greatest length of a song, after it was refused because it is longer."""
    field, nearest = error.field, error.nearest
    given: float = getattr(mapped.request, field)
    note = f"{field} '{given:g}' became {nearest:g}, because the song would be too long."
    request = mapped.request.model_copy(update={field: nearest})
    moved = replace(mapped, request=request, notes=(*mapped.notes, note))
    start, end = request.repainting_start, request.repainting_end
    return renewing_all(moved) if end is not None and end <= start else moved


def renewing_all(mapped: Mapped) -> Mapped:
    """The same request with a repaint of the whole source."""
    request = mapped.request.model_copy(update={"repainting_start": 0.0, "repainting_end": None})
    return replace(mapped, request=request, notes=(*mapped.notes, WHOLE_SOURCE))


def _task(values: Mapping[str, Any]) -> str:
    """The task by its name, which may be none that exists; a value that is no name is refused later."""
    task = values.get("task_type", Task.TEXT2MUSIC)
    return task if isinstance(task, str) else Task.TEXT2MUSIC


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _used_uploads(fields: Fields, values: dict[str, Any], leniency: Leniency) -> dict[str, BinaryIO]:
    """The uploads that the request uses; settles the fields that depend on the source.

    A source that is not used is not even read: some clients upload a piece of silence with every request.
    Raises RequestValidationError for a text in the place of a file, or a file in the place of a text.
    """
    task, output = _task(values), Output(values.get("output", Output.SONGS))
    uploads = fields.files
    takes_source = output.needs_source or (output is Output.SONGS and _works_on_source(task, values))
    if not takes_source:
        sources = uploads.pop("src_audio", None), values.pop("src_audio_path", None)
        if any(sources) and task == Task.TEXT2MUSIC:
            leniency.note(f"The source audio was ignored: task_type is {Task.TEXT2MUSIC}.")
    for name in FILES:
        if name not in uploads and (takes_source or name != "src_audio") and fields.get(name) is not None:
            raise invalid(name, "Input should be a file, uploaded as multipart/form-data", "file_type")
    for name in fields.misplaced_files:
        raise invalid(name, "Input should be text, not a file", "string_type")
    has_source = "src_audio" in uploads or "src_audio_path" in values
    if values.get("audio_code_string") and not (takes_source and has_source):
        values["thinking"] = True  # given codes are always used
    if task in SILENT_TASKS:
        values["allow_silent_source"] = True
    return uploads


def _works_on_source(task: str, values: Mapping[str, Any]) -> bool:
    is_morph = flag_of(values.get("flow_edit_morph")) is True
    return task in SOURCE_TASKS or (task == Task.TEXT2MUSIC and is_morph)


def _note_fields_without_effect(fields: Fields, leniency: Leniency) -> None:
    """One sentence about all fields that change nothing and were given another value than the usual one."""
    named = [
        name
        for name, usual in WITHOUT_EFFECT.items()
        if (value := fields.get(name)) is not None and not _is_usual(value, usual)
    ]
    if named:
        leniency.note(f"Without effect on this server: {', '.join(named)}.")


def _is_usual(value: Any, usual: Any) -> bool:
    if usual is ANY_VALUE:
        return True
    if isinstance(usual, bool):
        return flag_of(value) is usual
    if isinstance(usual, int | float):
        return number_in(value) == usual
    return bool(value == usual)
