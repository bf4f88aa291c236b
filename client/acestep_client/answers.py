"""The answers of the server. This file is generated: python -m docs.scripts.client_types."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """An answer. What a later server adds is kept; what an earlier one does not know is None or empty."""

    model_config = ConfigDict(extra="allow", frozen=True, defer_build=True)


JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class Submitted(Answer):
    """An accepted job."""

    job_id: str
    """Id of the job, for `GET /v1/jobs/{job_id}`."""
    status: JobStatus
    """`queued`; for a request repeated with its `Idempotency-Key`, the job's current status."""
    queue_position: int
    """1-based position among the waiting jobs; 0 if not waiting."""


class AdapterOfSong(Answer):
    """An adapter that changed the music model for a song."""

    name: str
    scale: float
    """Its strength."""
    sha256: str
    """Digest of its numbers: adapters of one name may differ."""


class TimedText(Answer):
    """A piece of the lyrics, and when it is sung."""

    text: str
    start: float
    """Seconds."""
    end: float
    """Seconds."""


class LyricTimestamps(Answer):
    """When the lyrics of a song are sung, as the music model's attention shows it."""

    lrc: str
    """The lines in the LRC format, `[mm:ss.xx]line`, which players read."""
    lines: list[TimedText] = Field(default_factory=list)
    """The lines and section tags; empty lines are left out."""
    tokens: list[TimedText] = Field(default_factory=list)
    """The tokens of the text encoder: words and parts of them."""
    score: float
    """How well the song follows the lyrics, from 0 to 1."""
    condition_score: float
    """The same before there is any music: how well the lyrics align with pure noise."""


class JobResult(Answer):
    """The songs of a job, and how they were made."""

    first_audio_path: str | None = None
    """URL of the first song on this server; None where the job makes no audio."""
    second_audio_path: str | None = None
    """URL of the second song; None with one song."""
    audio_paths: list[str] = Field(default_factory=list)
    """`/v1/audio/{job_id}/{i}.{ext}`, one per song of the batch."""
    generation_info: str
    """Steps, scale, seeds, models, effective values, seconds per stage."""
    status_message: str
    """Success, then notes on fields that had no or another effect."""
    seed_value: str
    """The seeds really used, joined by ", "."""
    bpm: int | None = None
    """Beats per minute that the music model was given."""
    duration: float | None = None
    """Seconds of the first song."""
    genres: str | None = None
    """Genres, where the language model named any."""
    keyscale: str | None = None
    """Key that the music model was given."""
    timesignature: str | None = None
    """Time signature that the music model was given."""
    metas: dict[str, Any] = Field(default_factory=dict)
    """The five values above; `caption`, `lyrics` and `language`, which the music model was given or which
    describe the source audio; `requested_caption`, `requested_lyrics` and `output` of the request.
    """
    lm_model: str | None = None
    """5Hz LM that filled in metadata or wrote codes; None where none did."""
    dit_model: str | None = None
    """The music model; None where none was used."""
    audio_codes: list[str | None] = Field(default_factory=list)
    """Audio codes of each song; None where it has none."""
    timings: dict[str, float] = Field(default_factory=dict)
    """Seconds per stage."""
    adapters: list[AdapterOfSong] = Field(default_factory=list)
    """The adapters that changed the music model, with their strengths."""
    sampling: str | None = None
    """The version of sampling that made the songs; None without songs, and in results of earlier releases."""
    lyric_timestamps: list[LyricTimestamps | None] | None = None
    """For each song, when its lyrics are sung, or None where that is not known; None where the request did
    not ask for it.
    """


class JobSnapshot(Answer):
    """A job as it stands."""

    job_id: str
    status: JobStatus
    created_at: float
    """Epoch seconds."""
    started_at: float | None = None
    """Epoch seconds."""
    finished_at: float | None = None
    """Epoch seconds."""
    queue_position: int
    """1-based while queued, else 0."""
    eta_seconds: float | None = None
    """Seconds until the result is expected; None when finished."""
    avg_job_seconds: float
    """Mean seconds of recent jobs."""
    progress: float
    """Share of the work that is done."""
    stage: str
    """queued, planning, composing, denoising, decoding, encoding, done; of a failed or a cancelled job the
    one it ended in.
    """
    result: JobResult | None = None
    """None until the job succeeded."""
    error: str | None = None
    """One sentence; None unless the job failed."""
    expires_at: float | None = None
    """Epoch seconds at which the songs are deleted, or the job itself where it has none; None until the job
    has ended.
    """


class WrittenSong(Answer):
    """A song as text: the words and metadata from which it can be made."""

    caption: str
    lyrics: str
    """`[Instrumental]` where nothing is sung."""
    vocal_language: str
    """Language of the lyrics."""
    bpm: int | None = None
    """None where the language model is down."""
    key_scale: str | None = None
    """None where the language model is down."""
    time_signature: str | None = None
    """None where the language model is down."""
    audio_duration: float
    """Seconds."""
    genres: str | None = None
    """Genres, where the language model named any."""
    lm_model: str | None = None
    """5Hz LM that wrote any of it; None where none did."""
    notes: list[str] = Field(default_factory=list)
    """Sentences about what the language model could not do."""


class JobPage(Answer):
    """A page of the caller's jobs."""

    jobs: list[JobSnapshot] = Field(default_factory=list)
    """Newest first."""
    next_cursor: str | None = None
    """`cursor` of the next page; None on the last page."""


class Pricing(Answer):
    """Prices of a model. Nothing is charged here."""

    prompt: str
    completion: str
    request: str


class ListedModel(Answer):
    """A music model, as chat clients list it."""

    id: str
    """`acestep/` and the name."""
    name: str
    created: int
    """Epoch seconds of the start of the server."""
    input_modalities: list[str] = Field(default_factory=list)
    output_modalities: list[str] = Field(default_factory=list)
    context_length: int
    max_output_length: int
    """Longest song, seconds."""
    pricing: Pricing
    description: str


class MusicModel(Answer):
    """A music model."""

    name: str
    is_default: bool
    tasks: list[str] = Field(default_factory=list)
    """Values of `task_type` that it can do."""
    takes_guidance: bool
    """Whether `guidance_scale` has an effect."""
    default_steps: int
    """Denoising steps that suit it."""
    default_shift: float
    """`shift` that it was trained for."""
    takes_timesteps: bool
    """Whether `timesteps` has an effect."""
    is_corrected: bool
    """Whether its steps are corrected where `dcw_enabled` is None."""
    follows_lyrics: bool
    """Whether `lyric_timestamps` has an effect."""


class LanguageModel(Answer):
    """A 5Hz LM."""

    name: str
    is_default: bool
    backends: list[str] = Field(default_factory=list)
    """Values of `lm_backend` that this server runs."""
    trained_tasks: list[str] = Field(default_factory=list)
    """The tasks that it was trained for beside metadata and codes: `inspire` (sample), `format`, `understand`
    (descriptions), `wording` (captions and languages with the metadata).
    """


class Adapter(Answer):
    """An adapter of a music model."""

    name: str
    """`name` in `adapters`."""
    form: str | None = None
    """The form of its file; None where it is not understood."""
    rank: int | None = None
    """Its largest rank; None where nothing in it has a rank."""
    targets: list[str] = Field(default_factory=list)
    """The matrices that it changes, without the numbers of layers."""
    is_dora: bool
    """Whether it is a DoRA, of which a song can have only one."""
    parameters: int | None = None
    """Numbers in its file."""
    bytes: int
    """Size of its file."""
    models: list[str] = Field(default_factory=list)
    """The music models that it fits."""
    warnings: list[str] = Field(default_factory=list)
    """Sentences about its file."""
    problem: str | None = None
    """Why it cannot be used; None for one that can."""


class Models(Answer):
    """Models, formats and limits of this server."""

    object: str
    """Always `list`, which chat clients expect."""
    data: list[ListedModel] = Field(default_factory=list)
    """The music models once more, as chat clients list them."""
    models: list[MusicModel] = Field(default_factory=list)
    default_model: str
    lm_models: list[LanguageModel] = Field(default_factory=list)
    default_lm_model: str
    adapters: list[Adapter] = Field(default_factory=list)
    """Adapters that requests may name; empty without folders."""
    audio_formats: dict[str, str] = Field(default_factory=dict)
    """Values of `audio_format`, and what they are."""
    vocal_languages: list[str] = Field(default_factory=list)
    max_duration: float
    """Longest song or recording, seconds."""
    lm_max_duration: int
    """Longest duration that the LM chooses by itself, seconds."""
    default_batch_size: int
    """Songs per job where `batch_size` is None."""
    max_batch_size: int
    max_upload_bytes: int
    """Largest request body."""
    result_seconds: float
    """Seconds after a job's end for which its songs are kept."""
    record_seconds: float
    """Seconds after a job's end for which it can be polled."""


class StatsData(Answer):
    """The statistics under the names of the ACE-Step API."""

    jobs: dict[str, int] = Field(default_factory=dict)
    """Jobs in all, queued, running, succeeded and failed."""
    queue_size: int
    """Jobs that wait."""
    queue_maxsize: int
    """Jobs that may wait."""
    avg_job_seconds: float
    """Mean seconds of recent jobs."""


class Stats(Answer):
    """Load and speed of the server."""

    code: int
    """Always 200."""
    error: None = None
    """Always None."""
    timestamp: int
    """Epoch milliseconds."""
    extra: None = None
    """Always None."""
    data: StatsData
    jobs: dict[str, int] = Field(default_factory=dict)
    """Jobs per status."""
    queue_length: int
    """Jobs that wait."""
    queue_limit: int
    """Jobs that may wait; more are refused with 429."""
    avg_job_seconds: float
    """Mean seconds of recent jobs."""
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    """Mean seconds per stage of recent jobs."""
    replicas: dict[str, int] = Field(default_factory=dict)
    """Running replicas per deployment."""
    mode: str
    """Mode set by the operator: `open`, `draining` (takes no new jobs) or `paused` (begins no job)."""


class Condition(Answer):
    """Answer of a server that can run jobs."""

    status: str
    """Always `ready`."""
    mode: str
    """Mode set by the operator: `open`, `draining` (takes no new jobs) or `paused` (begins no job)."""
    parts: dict[str, str] = Field(default_factory=dict)
    """The job tracker and the deployments that a default request needs. `busy`: healthy, but too busy to
    answer now; `scaled to zero`, `starting`: jobs start it, and wait for it.
    """
    no_room: str | None = None
    """Why new jobs are refused with 503 although all parts work: the job store takes no writes, or the disk
    is almost full. Polls and downloads go on. None while there is room.
    """
