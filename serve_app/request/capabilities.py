"""The capabilities of this server: limits and choices that follow from its settings and checkpoints."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import httpx
from fastapi.exceptions import RequestValidationError

from configs.domain import Task, code_count
from configs.settings import Settings
from deployments.checkpoints.catalog import (
    MAX_CUSTOM_TURBO_STEPS,
    DiTCheckpoint,
    Variant,
    dit_checkpoint,
)
from deployments.common.audio_formats import FORMATS
from serve_app.request.addresses import AddressRefusedError, public_address
from serve_app.request.schemas import GenerateRequest, Output

SHORTEST_SONG = 0.1
"""Seconds. Durations are rounded to tenths of a second."""


@dataclass(frozen=True)
class Limits:
    """Limits and choices for requests to this server."""

    dits: tuple[DiTCheckpoint, ...]
    """The first is the default, as in `language_models` and `backends`."""
    language_models: tuple[str, ...]
    backends: tuple[str, ...]
    audio_formats: tuple[str, ...]
    max_duration: float
    """Seconds of a song or a recording."""
    lm_max_duration: int
    """Seconds of a song whose length the LM chooses."""
    default_batch_size: int
    max_batch_size: int
    max_model_len: int
    """Tokens of an LM prompt and its answer."""
    private_callbacks: bool
    """Whether `callback_url` may name a private address."""
    record_seconds: float
    """Seconds for which jobs are kept after their end."""

    def dit(self, request: GenerateRequest) -> DiTCheckpoint:
        """The DiT that a request names, or the default."""
        return next((dit for dit in self.dits if dit.name == request.model), self.dits[0])

    def language_model(self, request: GenerateRequest) -> str:
        """The LM that a request names, or the default."""
        return request.lm_model_path or self.language_models[0]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that any of the DiTs can do."""
        return tuple(task for task in Task if any(task in dit.tasks for dit in self.dits))

    @property
    def choices(self) -> dict[str, tuple[str, ...]]:
        """The allowed values of a field, by its name."""
        return {
            "audio_format": self.audio_formats,
            "model": tuple(dit.name for dit in self.dits),
            "lm_model_path": self.language_models,
            "lm_backend": self.backends,
            "task_type": self.tasks,
        }

    @property
    def choice_messages(self) -> dict[str, str]:
        """The error message for a value that is not allowed, by field."""
        return {
            name: f"Input should be one of {', '.join(choices)}: this server has no other"
            for name, choices in self.choices.items()
        }

    @property
    def max_code_count(self) -> int:
        """Number of audio codes of the longest song."""
        return code_count(self.max_duration)


def server_limits(settings: Settings) -> Limits:
    """The limits that follow from the settings."""
    return Limits(
        dits=tuple(dit_checkpoint(name, settings.models.folder) for name in settings.models.dits),
        language_models=settings.models.language_models,
        backends=settings.language_model.backends,
        audio_formats=tuple(FORMATS),
        max_duration=settings.api.max_duration,
        lm_max_duration=settings.language_model.lm_max_duration,
        default_batch_size=settings.api.default_batch_size,
        max_batch_size=settings.api.max_batch_size,
        max_model_len=settings.language_model.max_model_len,
        private_callbacks=settings.webhooks.allow_private_addresses,
        record_seconds=settings.storage.record_seconds,
    )


def apply_limits(request: GenerateRequest, limits: Limits) -> GenerateRequest:
    """The request with this server's defaults for fields not given, and its duration rounded to 0.1 s.

    Raises RequestValidationError, which names every field that exceeds the server's capabilities.
    """
    settled: dict[str, Any] = {}
    if request.batch_size is None:
        settled["batch_size"] = limits.default_batch_size
    if request.lm_model_path is None:
        settled["lm_model_path"] = limits.language_models[0]
    if "lm_backend" not in request.model_fields_set and request.lm_backend not in limits.backends:
        settled["lm_backend"] = limits.backends[0]
    if request.output is not Output.SONGS:
        settled |= {"batch_size": 1, "task_type": Task.TEXT2MUSIC}  # an analysis does no task
    if "vocal_language" in request.model_fields_set and request.vocal_language != "unknown":
        settled["use_cot_language"] = False  # the user's language wins
    if request.audio_duration is not None:
        settled["audio_duration"] = max(SHORTEST_SONG, round(request.audio_duration, 1))
    settled_request = request.model_copy(update=settled)
    errors = [
        _error(name, limits.choice_messages[name], "enum")
        for name, choices in limits.choices.items()
        if (chosen := getattr(settled_request, name)) is not None and chosen not in choices
    ]
    errors += _maximum("batch_size", settled_request.batch_size, limits.max_batch_size)
    errors += _maximum("audio_duration", request.audio_duration, limits.max_duration)
    errors += _maximum("keep_seconds", request.keep_seconds, limits.record_seconds)
    errors += _callback_errors(request.callback_url, limits)
    if not any(error["loc"] in {("body", "model"), ("body", "task_type")} for error in errors):
        errors += _beyond_the_dit(settled_request, limits)
    if errors:
        raise RequestValidationError(errors)
    return settled_request


def check_callback(url: str | None, limits: Limits) -> None:
    """Raise RequestValidationError if a callback goes to an address that the server does not call."""
    if errors := _callback_errors(url, limits):
        raise RequestValidationError(errors)


def _callback_errors(url: str | None, limits: Limits) -> list[dict[str, Any]]:
    if url and not limits.private_callbacks and _names_private_address(url):
        return [_error("callback_url", "Input should be a public address of the internet", "url")]
    return []


def _beyond_the_dit(request: GenerateRequest, limits: Limits) -> Iterator[dict[str, Any]]:
    """Errors about fields that the request's DiT cannot fulfil, although another one might."""
    dit = limits.dit(request)
    if request.task_type not in dit.tasks:
        tasks = ", ".join(dit.tasks)
        able = ", ".join(other.name for other in limits.dits if request.task_type in other.tasks)
        message = f"Input should be one of {tasks}: {dit.name} can do no other task, but {able} can"
        yield _error("task_type", message, "enum")
    if dit.variant is Variant.TURBO and len(request.timesteps or ()) > MAX_CUSTOM_TURBO_STEPS:
        message = f"{dit.name} takes at most {MAX_CUSTOM_TURBO_STEPS} timesteps"
        yield _error("timesteps", message, "too_long")


def _names_private_address(url: str) -> bool:
    """Whether the host is not public. Names are not resolved here but at delivery."""
    host = httpx.URL(url).host
    try:
        public_address(ip_address(host))
    except AddressRefusedError:
        return True
    except ValueError:
        return host.rstrip(".").endswith("localhost")
    return False


def _maximum(field: str, value: float | None, maximum: float) -> list[dict[str, Any]]:
    if value is None or value <= maximum:
        return []
    return [_error(field, f"Input should be less than or equal to {maximum:g}", "less_than_equal")]


def _error(field: str, message: str, kind: str) -> dict[str, Any]:
    return {"loc": ("body", field), "msg": message, "type": kind}
