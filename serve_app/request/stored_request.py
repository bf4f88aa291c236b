"""A job's request as the stores keep it: its fields with plain types, and none of the API's rules.

The API may become stricter from one release to the next. A request that was accepted before stays readable,
because a record is read by this schema alone. A field that is added to the API must be added here, too; one
that changes its type or goes away needs a new layout (`serve_app.jobs.storing.records.UPGRADES`).
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, PlainSerializer, PlainValidator, TypeAdapter
from typing_extensions import TypedDict

from configs.domain import Task
from serve_app.request.schemas import GenerateRequest


def _seeds(stored: Any) -> Any:
    return tuple(map(int, stored.split(","))) if isinstance(stored, str) else stored


_Seeds = Annotated[
    tuple[int, ...],
    BeforeValidator(_seeds),
    PlainSerializer(lambda seeds: ",".join(map(str, seeds)), return_type=str, when_used="json"),
]


class _RequestFields(TypedDict, total=False):
    """A field that an older record lacks takes the default of the API.

    A field that is not known here belongs to a later release: such a record counts as unreadable, because
    without the field the job would make other music.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    caption: str
    lyrics: str
    thinking: bool
    vocal_language: str
    audio_format: str
    bpm: int | None
    key_scale: str
    time_signature: str
    audio_duration: float | None
    audio_code_string: str | tuple[str, ...]
    inference_steps: int
    guidance_scale: float
    use_random_seed: bool
    seed: _Seeds
    batch_size: int | None
    lm_model_path: str | None
    lm_backend: str
    lm_temperature: float
    lm_cfg_scale: float
    lm_guide_metadata: bool
    lm_negative_prompt: str
    lm_top_k: int | None
    lm_top_p: float
    lm_repetition_penalty: float
    reference_audio_path: str | None
    src_audio_path: str | None
    task_type: Task
    instruction: str
    repainting_start: float
    repainting_end: float | None
    audio_cover_strength: float
    shift: float | None
    timesteps: tuple[float, ...] | None
    infer_method: str
    use_adg: bool
    cfg_interval_start: float
    cfg_interval_end: float
    cover_noise_strength: float
    repaint_mode: str
    track_name: str | None
    track_classes: tuple[str, ...]
    callback_url: str | None
    priority: int


_FIELDS = TypeAdapter(_RequestFields)


def _read(stored: Any) -> GenerateRequest:
    if isinstance(stored, GenerateRequest):
        return stored
    fields: dict[str, Any] = {**_FIELDS.validate_python(stored)}
    return GenerateRequest.model_construct(**fields)


StoredRequest = Annotated[
    GenerateRequest, PlainValidator(_read), PlainSerializer(dict, return_type=_RequestFields)
]
"""A request of the API that is written and read by the fields above."""
