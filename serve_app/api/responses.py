"""Response bodies of the API (contract §2 and §3). Every key is always present."""

import time
from datetime import date

from pydantic import Field

from configs.domain import Task
from deployments.checkpoints.adapters.outline import Form
from deployments.checkpoints.catalog import LanguageModelTask
from serve_app.api.service import Readiness
from serve_app.jobs.mode import Mode
from serve_app.jobs.model import Accepted, JobState
from serve_app.jobs.shown import AdapterOfSong, Answer, JobResponse


class SubmitResponse(Answer):
    """An accepted job."""

    job_id: str = Field(description="Id of the job, for `GET /v1/jobs/{job_id}`.")
    status: JobState = Field(
        description="`queued`; for a request repeated with its `Idempotency-Key`, the job's current status."
    )
    queue_position: int = Field(description="1-based position among the waiting jobs; 0 if not waiting.")

    @classmethod
    def of(cls, accepted: Accepted) -> "SubmitResponse":
        return cls(job_id=accepted.job_id, status=accepted.state, queue_position=accepted.queue_position)


class BatchSubmitResponse(Answer):
    """An accepted batch."""

    batch_id: str = Field(description="Id of the batch, for `GET /v1/batches/{batch_id}`.")
    jobs: list[SubmitResponse] = Field(description="Its jobs, in the order of the requests.")


class PurgeResponse(Answer):
    """A job that is unknown from now on."""

    job_id: str
    complete: bool = Field(
        description="Whether all of it is gone. false: its runner has to stop first, or the storage did not "
        "answer; the rest is deleted by itself, also after a crash of the server."
    )


class WrittenSongResponse(Answer):
    """A song as text: the words and metadata from which it can be made."""

    caption: str
    lyrics: str = Field(description="`[Instrumental]` where nothing is sung.")
    vocal_language: str = Field(description="Language of the lyrics.")
    bpm: int | None = Field(description="null where the language model is down.")
    key_scale: str | None = Field(description="null where the language model is down.")
    time_signature: str | None = Field(description="null where the language model is down.")
    audio_duration: float = Field(description="Seconds.")
    genres: str | None = Field(description="Genres, where the language model named any.")
    lm_model: str | None = Field(description="5Hz LM that wrote any of it; null where none did.")
    notes: list[str] = Field(description="Sentences about what the language model could not do.")


class ProvenanceResponse(Answer):
    """How a song was made: what the marks in its file say, and which they are."""

    job_id: str
    index: int = Field(description="Number of the song in its job, from 0.")
    generator: str | None = Field(
        description="Name and version of this program; null for songs of earlier releases."
    )
    dit_model: str | None = Field(description="The music model; null where the record does not know it.")
    lm_model: str | None = Field(description="5Hz LM that had a part in the song; null where none had.")
    adapters: list[AdapterOfSong] = Field(description="The adapters of the music model.")
    seed: int | None = Field(description="The seed of the song; null where the record does not know it.")
    digital_source_type: str | None = Field(
        description="A URI of IPTC's vocabulary: `trainedAlgorithmicMedia`, or "
        "`compositeWithTrainedAlgorithmicMedia` for a repaint, which keeps a part of its source. null for "
        "songs of earlier releases."
    )
    marks: list[str] = Field(
        description="The kinds of marks in the file: `ID3`, `Vorbis comments`, `INFO`, `MP4 atoms`, `XMP`, "
        "and `C2PA` for a signed manifest. Empty for songs of earlier releases."
    )
    sha256: str | None = Field(
        description="Of the whole file, in hexadecimal digits; null for songs of earlier releases."
    )


class JobsResponse(Answer):
    """A page of the caller's jobs."""

    jobs: list[JobResponse] = Field(description="Newest first.")
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last page.")


class EndedJobs(Answer):
    """Jobs by their end."""

    succeeded: int
    failed: int
    cancelled: int


class EngineSeconds(Answer):
    """Seconds of the stages of each engine."""

    language_model: float = Field(description="Planning and composing.")
    generator: float = Field(description="Denoising.")
    codec: float = Field(description="Decoding and encoding.")


class UsedAmounts(Answer):
    """The amounts that were used in some time."""

    jobs: EndedJobs
    audio_seconds: float = Field(description="Seconds of the songs that were made.")
    codes: int = Field(description="Audio codes that the language model wrote.")
    engine_seconds: EngineSeconds


class UsageOfDay(UsedAmounts):
    """The amounts that were used by jobs that ended on a day."""

    day: date = Field(description="UTC.")


class Budget(Answer):
    """The music that a client may make in a day."""

    audio_seconds_per_day: float
    left: float = Field(description="Seconds that jobs may still be submitted for today.")
    resets_at: float = Field(description="Epoch seconds at which the next day begins.")


class UsageResponse(Answer):
    """The amounts that the caller used, by day and together."""

    first: date = Field(alias="from", description="The first day (UTC).")
    last: date = Field(alias="to", description="The last day.")
    days: list[UsageOfDay] = Field(description="The days on which a job ended, in order.")
    total: UsedAmounts
    budget: Budget | None = Field(description="null for a client without a budget.")


class DiTModel(Answer):
    """A music model."""

    name: str
    is_default: bool
    tasks: list[Task] = Field(description="Values of `task_type` that it can do.")
    takes_guidance: bool = Field(description="Whether `guidance_scale` has an effect.")
    default_steps: int = Field(description="Denoising steps that suit it.")
    default_shift: float = Field(description="`shift` that it was trained for.")
    takes_timesteps: bool = Field(description="Whether `timesteps` has an effect.")
    is_corrected: bool = Field(description="Whether its steps are corrected where `dcw_enabled` is null.")
    follows_lyrics: bool = Field(description="Whether `lyric_timestamps` has an effect.")


class LanguageModel(Answer):
    """A 5Hz LM."""

    name: str
    is_default: bool
    backends: list[str] = Field(description="Values of `lm_backend` that this server runs.")
    trained_tasks: list[LanguageModelTask] = Field(
        description="The tasks that it was trained for beside metadata and codes: `inspire` (sample), "
        "`format`, `understand` (descriptions), `wording` (captions and languages with the metadata)."
    )


class Adapter(Answer):
    """An adapter of a music model."""

    name: str = Field(description="`name` in `adapters`.")
    form: Form | None = Field(description="The form of its file; null where it is not understood.")
    rank: int | None = Field(description="Its largest rank; null where nothing in it has a rank.")
    targets: list[str] = Field(description="The matrices that it changes, without the numbers of layers.")
    is_dora: bool = Field(description="Whether it is a DoRA, of which a song can have only one.")
    parameters: int | None = Field(description="Numbers in its file.")
    bytes: int = Field(description="Size of its file.")
    models: list[str] = Field(description="The music models that it fits.")
    warnings: list[str] = Field(description="Sentences about its file.")
    problem: str | None = Field(description="Why it cannot be used; null for one that can.")


class Pricing(Answer):
    """Prices of a model. Nothing is charged here."""

    prompt: str = "0"
    completion: str = "0"
    request: str = "0"


class ListedModel(Answer):
    """A music model, as chat clients list it."""

    id: str = Field(description="`acestep/` and the name.")
    name: str
    created: int = Field(description="Epoch seconds of the start of the server.")
    input_modalities: list[str]
    output_modalities: list[str]
    context_length: int
    max_output_length: int = Field(description="Longest song, seconds.")
    pricing: Pricing
    description: str


class ModelsResponse(Answer):
    """Models, formats and limits of this server."""

    object: str = Field("list", description="Always `list`, which chat clients expect.")
    data: list[ListedModel] = Field(description="The music models once more, as chat clients list them.")
    models: list[DiTModel]
    default_model: str
    lm_models: list[LanguageModel]
    default_lm_model: str
    adapters: list[Adapter] = Field(description="Adapters that requests may name; empty without folders.")
    audio_formats: dict[str, str] = Field(description="Values of `audio_format`, and what they are.")
    vocal_languages: list[str]
    max_duration: float = Field(description="Longest song or recording, seconds.")
    lm_max_duration: int = Field(description="Longest duration that the LM chooses by itself, seconds.")
    default_batch_size: int = Field(description="Songs per job where `batch_size` is null.")
    max_batch_size: int
    max_upload_bytes: int = Field(description="Largest request body.")
    result_seconds: float = Field(description="Seconds after a job's end for which its songs are kept.")
    record_seconds: float = Field(description="Seconds after a job's end for which it can be polled.")


_MODE = "Mode set by the operator: `open`, `draining` (takes no new jobs) or `paused` (begins no job)."


class Enveloped(Answer):
    """An answer that is also an envelope of the ACE-Step API (docs/compatibility.md)."""

    code: int = Field(200, description="Always 200.")
    error: None = Field(None, description="Always null.")
    timestamp: int = Field(default_factory=lambda: int(time.time() * 1000), description="Epoch milliseconds.")
    extra: None = Field(None, description="Always null.")


class StatsData(Answer):
    """The statistics under the names of the ACE-Step API."""

    jobs: dict[str, int] = Field(description="Jobs in all, queued, running, succeeded and failed.")
    queue_size: int = Field(description="Jobs that wait.")
    queue_maxsize: int = Field(description="Jobs that may wait.")
    avg_job_seconds: float = Field(description="Mean seconds of recent jobs.")


class StatsResponse(Enveloped):
    """Load and speed of the server."""

    data: StatsData
    jobs: dict[str, int] = Field(description="Jobs per status.")
    queue_length: int = Field(description="Jobs that wait.")
    queue_limit: int = Field(description="Jobs that may wait; more are refused with 429.")
    avg_job_seconds: float = Field(description="Mean seconds of recent jobs.")
    stage_seconds: dict[str, float] = Field(description="Mean seconds per stage of recent jobs.")
    replicas: dict[str, int] = Field(description="Running replicas per deployment.")
    mode: Mode = Field(description=_MODE)


class HealthData(Answer):
    """The state of the models under the names of the ACE-Step API."""

    status: str = Field("ok", description="Always `ok`.")
    service: str = Field("acestep-serve", description="Name of this server.")
    version: str = Field("1.0", description="Version of the ACE-Step API.")
    models_initialized: bool = Field(description="Whether the music model can serve.")
    llm_initialized: bool = Field(description="Whether the language model can serve.")
    loaded_model: str | None = Field(description="Name of the default music model, if it can serve.")
    loaded_lm_model: str | None = Field(description="Name of the default language model, if it can serve.")


class HealthResponse(Enveloped):
    """Answer of a process that is alive."""

    data: HealthData
    status: str = Field("ok", description="Always `ok`.")
    service: str = Field("acestep-serve", description="Name of this server.")


class ReadyResponse(Answer):
    """Answer of a server that can run jobs."""

    status: str = Field("ready", description="Always `ready`.")
    mode: Mode = Field(description=_MODE)
    parts: dict[str, Readiness] = Field(
        description="The job tracker and the deployments that a default request needs. `busy`: healthy, but "
        "too busy to answer now; `scaled to zero`, `starting`: jobs start it, and wait for it."
    )
    no_room: str | None = Field(
        description="Why new jobs are refused with 503 although all parts work: the job store takes no "
        "writes, or the disk is almost full. Polls and downloads go on. null while there is room."
    )
