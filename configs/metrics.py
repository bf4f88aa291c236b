"""The server's own metrics: the name, unit, label and buckets of each.

Ray exports them from every node with the prefix `ray_`; docs/monitoring.md says how to scrape and read them.
"""

from dataclasses import dataclass
from typing import Literal, get_args

EXPORT_PREFIX = "ray_"
"""The prefix that Ray adds to every name."""

FailureKind = Literal["request", "timeout", "unavailable", "internal", "lost"]
"""Why an attempt failed. `request`: the request cannot be fulfilled. `timeout`: it took too long.
`unavailable`: a part of the server could not be reached. `internal`: an error in the server itself.
`lost`: its lease expired because its runner was no longer heard of."""
Limit = Literal["queue_limit", "client_jobs", "client_rate", "client_bytes", "client_budget"]
"""The setting of the section `jobs` because of which a submit was refused; `client_budget`: of its key."""
Delivery = Literal["delivered", "failed", "given_up"]
"""How one delivery of a callback ended. `given_up` is a failure after which no other delivery follows."""

_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


@dataclass(frozen=True)
class Metric:
    """One metric."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    description: str
    label: str | None = None
    values: tuple[str, ...] = ()
    """Known values of the label. A counter starts at 0 for each, so that its first event is an increase."""
    buckets: tuple[float, ...] = ()

    @property
    def exported(self) -> str:
        """The name in Prometheus. For a histogram it is followed by `_bucket`, `_count` or `_sum`."""
        return f"{EXPORT_PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


def _counter(name: str, description: str, label: str | None = None, values: tuple[str, ...] = ()) -> Metric:
    return Metric(f"acestep_{name}", "counter", description, label, values)


def _gauge(name: str, description: str) -> Metric:
    return Metric(f"acestep_{name}", "gauge", description)


def _histogram(
    name: str, description: str, buckets: tuple[float, ...] = _SECONDS, label: str | None = None
) -> Metric:
    return Metric(f"acestep_{name}", "histogram", description, label, buckets=buckets)


# Job tracker

QUEUE_DEPTH = _gauge("queue_depth", "Jobs in the queue.")
QUEUE_AGE = _gauge("queue_age_seconds", "Age of the job that has waited longest; 0 while the queue is empty.")
RUNNING_JOBS = _gauge("running_jobs", "Jobs that are running.")
STORED_BYTES = _gauge("stored_bytes", "Storage used by the songs and recordings of all jobs.")
UNOWNED_FOLDERS = _gauge(
    "storage_unowned_folders", "Folders in the storage that belong to job stores which are not in use."
)
CLOCK_AHEAD = _gauge(
    "clock_ahead_seconds", "How far the wall clock was recently set forward. Ages of jobs leave this out."
)
TRACKER_STARTED = _gauge(
    "tracker_start_time_seconds", "Unix time at which the job tracker's process started."
)
SUBMITTED = _counter("jobs_submitted", "Jobs accepted into the queue.")
REFUSED = _counter(
    "jobs_refused",
    "Submits refused with 429, by the setting that limits them.",
    "limit",
    get_args(Limit),
)
ENDED = _counter("jobs_ended", "Jobs that ended.", "state", ("succeeded", "failed", "cancelled"))
FAILED_ATTEMPTS = _counter(
    "attempts_failed",
    "Attempts that failed, whether or not another followed.",
    "kind",
    get_args(FailureKind),
)
RETRIES = _counter("retries", "Jobs put back into the queue after a failed attempt.")
WAIT = _histogram("job_wait_seconds", "Time from a job's submit to its first claim by a runner.")
JOB_SECONDS = _histogram("job_seconds", "Time from a job's submit to its result.")
STAGE_SECONDS = _histogram("stage_seconds", "Time spent in each stage of jobs that succeeded.", label="stage")
REAL_TIME_FACTOR = _histogram(
    "real_time_factor",
    "Seconds of music per second from the first claim to the result, for jobs that succeeded.",
    _FACTORS,
)
SONGS = _counter("songs", "Songs made.")
AUDIO_SECONDS = _counter("audio_seconds", "Length of the music made.")
CALLBACKS = _counter("callbacks", "Deliveries of callbacks that were tried.", "outcome", get_args(Delivery))
STORE_ERRORS = _counter("store_errors", "Reads and writes of the job store that failed.")
SET_ASIDE = _counter("records_set_aside", "Job records that could not be read and were set aside.")

JOB_METRICS = (
    QUEUE_DEPTH,
    QUEUE_AGE,
    RUNNING_JOBS,
    STORED_BYTES,
    UNOWNED_FOLDERS,
    CLOCK_AHEAD,
    TRACKER_STARTED,
    SUBMITTED,
    REFUSED,
    ENDED,
    FAILED_ATTEMPTS,
    RETRIES,
    WAIT,
    JOB_SECONDS,
    STAGE_SECONDS,
    REAL_TIME_FACTOR,
    SONGS,
    AUDIO_SECONDS,
    CALLBACKS,
    STORE_ERRORS,
    SET_ASIDE,
)

# Each replica of the API

API_KEYS_OUTDATED = _gauge(
    "api_keys_outdated", "1 while `api.keys_file` cannot be read or is wrong, and earlier keys are in use."
)

INGRESS_METRICS = (API_KEYS_OUTDATED,)

# Each LanguageModel replica; vLLM adds its own (`ray_vllm_...`)

LM_TOKENS = _counter("language_model_tokens", "Codes and metadata tokens written; a guided pair counts once.")
LM_GUIDED_PAIRS = _counter("language_model_guided_pairs", "Guided runs started; each takes two rows.")
LM_ROWS = _counter("language_model_rows", "Rows decoded, summed over the engine's steps.")
LM_ROW_SLOTS = _counter("language_model_row_slots", "Rows that these steps had room for (max_num_seqs).")

LANGUAGE_MODEL_METRICS = (LM_TOKENS, LM_GUIDED_PAIRS, LM_ROWS, LM_ROW_SLOTS)

# Each Generator replica

DIT_FORWARDS = _counter("generator_forwards", "Forwards of the DiT; each song in a forward makes one step.")
DIT_SECONDS = _counter(
    "generator_forward_seconds", "Time in forwards of the DiT; concurrent forwards are added up."
)
DIT_SONG_STEPS = _counter("generator_song_steps", "Steps of songs, summed over the forwards.")
DIT_TOKENS = _counter("generator_tokens", "Tokens in forwards of the DiT.")
DIT_TOKEN_SLOTS = _counter(
    "generator_token_slots",
    "Tokens that these forwards had room for (tokens_per_forward, or one longer song).",
)
DIT_FRAMES = _counter("generator_frames", "Latent frames in forwards of the DiT, padding included.")
DIT_PADDING_FRAMES = _counter(
    "generator_padding_frames", "Latent frames in forwards of the DiT that only pad a patch."
)
ADAPTER_LOADS = _counter("adapter_loads", "Adapters that were read and prepared for songs.")

GENERATOR_METRICS = (
    DIT_FORWARDS,
    DIT_SECONDS,
    DIT_SONG_STEPS,
    DIT_TOKENS,
    DIT_TOKEN_SLOTS,
    DIT_FRAMES,
    DIT_PADDING_FRAMES,
    ADAPTER_LOADS,
)

# Each Codec replica

VAE_FORWARDS = _counter("codec_forwards", "Forwards of the VAE's encoder and decoder.")
VAE_SECONDS = _counter("codec_forward_seconds", "Time in forwards of the VAE.")
VAE_TILES = _counter("codec_tiles", "Tiles in forwards of the VAE.")
VAE_TILE_SLOTS = _counter("codec_tile_slots", "Tiles that these forwards had room for (tile_batch).")
VAE_FRAMES = _counter("codec_frames", "Latent frames of these tiles, margins included.")
VAE_MARGIN_FRAMES = _counter(
    "codec_margin_frames", "Latent frames of these tiles that overlap a neighbour and are discarded."
)

CODEC_METRICS = (VAE_FORWARDS, VAE_SECONDS, VAE_TILES, VAE_TILE_SLOTS, VAE_FRAMES, VAE_MARGIN_FRAMES)

METRICS = (*JOB_METRICS, *INGRESS_METRICS, *LANGUAGE_MODEL_METRICS, *GENERATOR_METRICS, *CODEC_METRICS)
