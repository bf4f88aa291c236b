"""What the API answers (contract §2 and §3). Every key is always there."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from configs.domain import Task
from serve_app.api.service import Readiness
from serve_app.jobs.mode import Mode
from serve_app.jobs.model import JobState, JobView


class _Response(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SubmitResponse(_Response):
    """An accepted job."""

    job_id: str = Field(description="Ask `GET /v1/jobs/{job_id}` how it goes.")
    status: JobState = Field(
        description="`queued`; of a request repeated with its `Idempotency-Key`, as the job is now."
    )
    queue_position: int = Field(description="1-based place among the waiting jobs; 0 once it is none.")


class JobResult(_Response):
    """The songs of a job, and how they were made."""

    first_audio_path: str = Field(description="URL of the first song on this server.")
    second_audio_path: str | None = Field(description="URL of the second song; null with one song.")
    audio_paths: list[str] = Field(description="`/v1/audio/{job_id}/{i}.{ext}`, one per song of the batch.")
    generation_info: str = Field(
        description="Steps, scale, seeds, models, effective values, seconds per stage."
    )
    status_message: str = Field(description="Success, then notes on fields that had no or another effect.")
    seed_value: str = Field(description='The seeds really used, joined by ", ".')
    bpm: int | None = Field(description="Beats per minute that the music model was given.")
    duration: float | None = Field(description="Seconds of the first song.")
    genres: str | None = Field(description="Genres, where the language model named any.")
    keyscale: str | None = Field(description="Key that the music model was given.")
    timesignature: str | None = Field(description="Time signature that the music model was given.")
    metas: dict[str, Any] = Field(description="The five values above.")
    lm_model: str | None = Field(
        description="5Hz LM that filled in metadata or wrote codes; null where none did."
    )
    dit_model: str = Field(description="The music model.")
    audio_codes: list[str | None] = Field(description="Audio codes of each song; null where it has none.")
    timings: dict[str, float] = Field(description="Seconds per stage.")


class JobResponse(_Response):
    """A job as it stands."""

    job_id: str
    status: JobState
    created_at: float = Field(description="Epoch seconds.")
    started_at: float | None = Field(description="Epoch seconds.")
    finished_at: float | None = Field(description="Epoch seconds.")
    queue_position: int = Field(description="1-based while queued, else 0.")
    eta_seconds: float | None = Field(description="Seconds until the result is expected; null when finished.")
    avg_job_seconds: float = Field(description="Mean seconds of recent jobs.")
    progress: float = Field(ge=0, le=1, description="Share of the work that is done.")
    stage: str = Field(
        description="queued, planning, composing, denoising, decoding, encoding, done; of a failed or a "
        "cancelled job the one it ended in."
    )
    result: JobResult | None = Field(description="null until the job succeeded.")
    error: str | None = Field(description="One sentence; null unless the job failed.")

    @classmethod
    def of(cls, view: JobView, audio_url: Callable[[str], str] = str) -> "JobResponse":
        """The answer to a poll. `audio_url` makes the URLs of songs from their paths."""
        return cls(
            job_id=view.job_id,
            status=view.state,
            created_at=view.created_at,
            started_at=view.started_at,
            finished_at=view.finished_at,
            queue_position=view.queue_position,
            eta_seconds=view.eta_seconds,
            avg_job_seconds=view.avg_job_seconds,
            progress=view.progress,
            stage=view.stage,
            result=None if view.result is None else _result(view.result, audio_url),
            error=view.error,
        )


def _result(result: dict[str, Any], audio_url: Callable[[str], str]) -> JobResult:
    paths = [audio_url(path) for path in result["audio_paths"]]
    first, second = (*paths, None)[:2]
    return JobResult.model_validate(
        {**result, "first_audio_path": first, "second_audio_path": second, "audio_paths": paths}
    )


class JobsResponse(_Response):
    """A page of the caller's jobs."""

    jobs: list[JobResponse] = Field(description="Newest first.")
    next_cursor: str | None = Field(description="`cursor` of the next page; null where this is the last.")


class DiTModel(_Response):
    """A music model."""

    name: str
    is_default: bool
    tasks: list[Task] = Field(description="Values of `task_type` that it can do.")
    takes_guidance: bool = Field(description="Whether `guidance_scale` has an effect.")
    default_steps: int = Field(description="Denoising steps that suit it; distilled models run no others.")
    default_shift: float = Field(description="`shift` that it was trained for.")
    takes_timesteps: bool = Field(description="Whether `timesteps` has an effect.")


class LanguageModel(_Response):
    """A 5Hz LM."""

    name: str
    is_default: bool
    backends: list[str] = Field(description="Values of `lm_backend` that this server runs.")


class ModelsResponse(_Response):
    """What this server can do."""

    models: list[DiTModel]
    default_model: str
    lm_models: list[LanguageModel]
    default_lm_model: str
    audio_formats: dict[str, str] = Field(description="Values of `audio_format`, and what they are.")
    vocal_languages: list[str]
    max_duration: float = Field(description="Longest song or recording, seconds.")
    lm_max_duration: int = Field(description="Longest duration that the LM chooses by itself, seconds.")
    default_batch_size: int = Field(description="Songs per job where `batch_size` is null.")
    max_batch_size: int
    max_upload_bytes: int = Field(description="Largest request body.")


_MODE = "What the operator lets it do: all (`open`), take no new jobs (`draining`), begin no job (`paused`)."


class StatsResponse(_Response):
    """How busy the server is."""

    jobs: dict[str, int] = Field(description="Jobs per status.")
    queue_length: int = Field(description="Jobs that wait.")
    queue_limit: int = Field(description="Jobs that may wait; more are refused with 429.")
    avg_job_seconds: float = Field(description="Mean seconds of recent jobs.")
    stage_seconds: dict[str, float] = Field(description="Mean seconds per stage of recent jobs.")
    replicas: dict[str, int] = Field(description="Running replicas per deployment.")
    mode: Mode = Field(description=_MODE)


class HealthResponse(_Response):
    """The process answers."""

    status: str = Field("ok", description="Always `ok`.")
    service: str = Field("acestep-serve", description="Name of this server.")


class ReadyResponse(_Response):
    """Jobs get done."""

    status: str = Field("ready", description="Always `ready`.")
    mode: Mode = Field(description=_MODE)
    parts: dict[str, Readiness] = Field(
        description="The job tracker and the deployments that a default request needs. `busy`: healthy, "
        "without room for a question now; `scaled to zero`, `starting`: work makes it start, and waits."
    )
