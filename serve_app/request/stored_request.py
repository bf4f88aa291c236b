"""The stored form of a job's request: its fields with plain types and without the API's validation.

The API may become stricter from one release to the next. Requests that were accepted before stay readable,
because records are read with this schema only. A field that is added to the API must be added here too. A
field that changes its type or is removed needs a new layout (`serve_app.jobs.storing.records.UPGRADES`).
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, PlainSerializer, PlainValidator, TypeAdapter
from typing_extensions import TypedDict

from configs.domain import EARLIER_SAMPLING, SamplingVersion, Task
from deployments.common.messages import AdapterUse
from serve_app.request.schemas import GenerateRequest, Output


def _seeds(stored: Any) -> Any:
    return tuple(map(int, stored.split(","))) if isinstance(stored, str) else stored


_Seeds = Annotated[
    tuple[int, ...],
    BeforeValidator(_seeds),
    PlainSerializer(lambda seeds: ",".join(map(str, seeds)), return_type=str, when_used="json"),
]


class _RequestFields(TypedDict, total=False):
    """A field that is missing in an older record takes the API's default, apart from `sampling`.

    An unknown field comes from a later release. Such a record counts as unreadable, because the job would
    make different music without the field.
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
    sample_mode: bool
    sample_query: str
    use_format: bool
    use_cot_caption: bool
    use_cot_language: bool
    output: Output
    audio_code_string: str | tuple[str, ...]
    inference_steps: int
    guidance_scale: float
    retake_variance: float
    retake_seed: _Seeds
    use_random_seed: bool
    seed: _Seeds
    batch_size: int | None
    model: str | None
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
    allow_silent_source: bool
    task_type: Task
    instruction: str
    repainting_start: float
    repainting_end: float | None
    audio_cover_strength: float
    shift: float | None
    timesteps: tuple[float, ...] | None
    sampling: SamplingVersion
    infer_method: str
    sampler_mode: str
    velocity_norm_threshold: float
    velocity_ema_factor: float
    dcw_enabled: bool | None
    dcw_mode: str
    dcw_scaler: float
    dcw_high_scaler: float
    dcw_wavelet: str
    latent_rescale: float
    latent_shift: float
    lyric_timestamps: bool
    adapters: tuple[AdapterUse, ...]
    use_adg: bool
    cfg_interval_start: float
    cfg_interval_end: float
    cover_noise_strength: float
    repaint_mode: str
    repaint_strength: float
    chunk_mask_mode: str
    cover_nofsq: bool
    global_caption: str
    track_name: str | None
    track_classes: tuple[str, ...]
    flow_edit_morph: bool
    flow_edit_source_caption: str
    flow_edit_source_lyrics: str
    flow_edit_n_min: float
    flow_edit_n_max: float
    flow_edit_n_avg: int
    enable_normalization: bool
    normalization_db: float
    fade_in_duration: float
    fade_out_duration: float
    embed_request: bool
    callback_url: str | None
    callback_events: tuple[str, ...]
    priority: int
    start_within_seconds: float | None
    keep_seconds: float | None


_FIELDS = TypeAdapter(_RequestFields)


def _read(stored: Any) -> GenerateRequest:
    if isinstance(stored, GenerateRequest):
        return stored
    # A job that was accepted before there were versions of sampling makes the song that it was promised.
    fields: dict[str, Any] = {"sampling": EARLIER_SAMPLING, **_FIELDS.validate_python(stored)}
    return GenerateRequest.model_construct(**fields)


StoredRequest = Annotated[
    GenerateRequest, PlainValidator(_read), PlainSerializer(vars, return_type=_RequestFields)
]
"""A GenerateRequest that is serialised and parsed with the fields above."""
