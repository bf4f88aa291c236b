"""A job as clients see it, in polls, event streams and callbacks (contract §3). No key is ever left out."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from serve_app.jobs.batches import BatchView
from serve_app.jobs.model import PROVENANCE, JobState, JobView


class Answer(BaseModel):
    """Base of everything that clients receive."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TimedText(Answer):
    """A piece of the lyrics, and when it is sung."""

    text: str
    start: float = Field(description="Seconds.")
    end: float = Field(description="Seconds.")


class LyricTimestamps(Answer):
    """When the lyrics of a song are sung, as the music model's attention shows it."""

    lrc: str = Field(description="The lines in the LRC format, `[mm:ss.xx]line`, which players read.")
    lines: list[TimedText] = Field(description="The lines and section tags; empty lines are left out.")
    tokens: list[TimedText] = Field(description="The tokens of the text encoder: words and parts of them.")
    score: float = Field(description="How well the song follows the lyrics, from 0 to 1.")
    condition_score: float = Field(
        description="The same before there is any music: how well the lyrics align with pure noise."
    )


class AdapterOfSong(Answer):
    """An adapter that changed the music model for a song."""

    name: str
    scale: float = Field(description="Its strength.")
    sha256: str = Field(description="Digest of its numbers: adapters of one name may differ.")


class JobResult(Answer):
    """The songs of a job, and how they were made."""

    first_audio_path: str | None = Field(
        description="URL of the first song on this server; null where the job makes no audio."
    )
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
    metas: dict[str, Any] = Field(
        description="The five values above; `caption`, `lyrics` and `language`, which the music model was "
        "given or which describe the source audio; `requested_caption`, `requested_lyrics` and `output` of "
        "the request."
    )
    lm_model: str | None = Field(
        description="5Hz LM that filled in metadata or wrote codes; null where none did."
    )
    dit_model: str | None = Field(description="The music model; null where none was used.")
    audio_codes: list[str | None] = Field(description="Audio codes of each song; null where it has none.")
    timings: dict[str, float] = Field(description="Seconds per stage.")
    adapters: list[AdapterOfSong] = Field(
        default=[], description="The adapters that changed the music model, with their strengths."
    )
    sampling: str | None = Field(
        None,
        description="The version of sampling that made the songs; null without songs, and in results of "
        "earlier releases.",
    )
    lyric_timestamps: list[LyricTimestamps | None] | None = Field(
        None,
        description="For each song, when its lyrics are sung, or null where that is not known; null where "
        "the request did not ask for it.",
    )


class JobResponse(Answer):
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
    expires_at: float | None = Field(
        description="Epoch seconds at which the songs are deleted, or the job itself where it has none; null "
        "until the job has ended."
    )

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
            expires_at=view.expires_at,
        )


class BatchCounts(Answer):
    """Jobs of a batch by status."""

    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int


class BatchJob(Answer):
    """A job of a batch."""

    job_id: str
    status: JobState


class BatchResponse(Answer):
    """A batch as it stands."""

    batch_id: str
    is_ended: bool = Field(description="Whether none of its jobs waits or runs.")
    deleted: int = Field(description="Jobs that have expired or were purged.")
    counts: BatchCounts
    jobs: list[BatchJob] = Field(description="In the order of the requests, without those deleted.")

    @classmethod
    def of(cls, view: BatchView) -> "BatchResponse":
        states = [state for _, state in view.jobs]
        return cls(
            batch_id=view.batch_id,
            is_ended=view.is_ended,
            deleted=view.deleted,
            counts=BatchCounts(**{state.value: states.count(state) for state in JobState}),
            jobs=[BatchJob(job_id=job_id, status=state) for job_id, state in view.jobs],
        )


def _result(result: dict[str, Any], audio_url: Callable[[str], str]) -> JobResult:
    paths = [audio_url(path) for path in result["audio_paths"]]
    first, second = (*paths, None, None)[:2]
    shown = {name: value for name, value in result.items() if name != PROVENANCE}
    return JobResult.model_validate(
        {**shown, "first_audio_path": first, "second_audio_path": second, "audio_paths": paths}
    )
