"""What the server measures: the name, unit, label and buckets of each metric of its own.

Ray exports them from every node with the prefix `ray_`; docs/monitoring.md says how to scrape and read them.
"""

from dataclasses import dataclass
from typing import Literal, get_args

EXPORT_PREFIX = "ray_"
"""What Ray puts before every name."""

FailureKind = Literal["request", "timeout", "unavailable", "internal", "lost"]
"""Why a run of a job failed: what was asked can't be done; it took too long; a part of the server was away;
an error of our own; its runner was not heard of any more."""
Limit = Literal["queue_limit", "client_jobs", "client_rate", "client_bytes"]
"""The setting of `jobs` under which a submit was refused."""
Delivery = Literal["delivered", "failed", "given_up"]
"""How one try to deliver a callback ended; `given_up`: it failed, and there is no other."""

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
    """Those of the label. A counter starts at 0 for each: the first event is an increase, too."""
    buckets: tuple[float, ...] = ()

    @property
    def exported(self) -> str:
        """Its name in Prometheus; that of a histogram goes on with `_bucket` and `_count`."""
        return f"{EXPORT_PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


def _counter(name: str, description: str, label: str | None = None, values: tuple[str, ...] = ()) -> Metric:
    return Metric(f"acestep_{name}", "counter", description, label, values)


def _gauge(name: str, description: str) -> Metric:
    return Metric(f"acestep_{name}", "gauge", description)


def _histogram(
    name: str, description: str, buckets: tuple[float, ...] = _SECONDS, label: str | None = None
) -> Metric:
    return Metric(f"acestep_{name}", "histogram", description, label, buckets=buckets)


# Of the job tracker

QUEUE_DEPTH = _gauge("queue_depth", "Jobs that wait.")
QUEUE_AGE = _gauge(
    "queue_age_seconds", "Time since the submit of the job that has waited longest; 0: none waits."
)
RUNNING_JOBS = _gauge("running_jobs", "Jobs that runners work on.")
STORED_BYTES = _gauge("stored_bytes", "What songs and recordings of all jobs take of the storage.")
UNOWNED_FOLDERS = _gauge(
    "storage_unowned_folders", "Folders in the storage that belong to job stores which are not in use."
)
CLOCK_AHEAD = _gauge(
    "clock_ahead_seconds", "How far the wall clock was set forward of late; ages do not count that."
)
TRACKER_STARTED = _gauge("tracker_start_time_seconds", "When the job tracker's process started, Unix time.")
SUBMITTED = _counter("jobs_submitted", "Jobs that were put in line.")
REFUSED = _counter(
    "jobs_refused",
    "Submits answered with 429, by the setting that says so.",
    "limit",
    get_args(Limit),
)
ENDED = _counter("jobs_ended", "Jobs that ended.", "state", ("succeeded", "failed", "cancelled"))
FAILED_ATTEMPTS = _counter(
    "attempts_failed",
    "Runs of jobs that failed, whether or not another followed.",
    "kind",
    get_args(FailureKind),
)
RETRIES = _counter("retries", "Jobs put back in line after a run that failed.")
WAIT = _histogram("job_wait_seconds", "From a job's submit to its first runner.")
JOB_SECONDS = _histogram("job_seconds", "From a job's submit to its result.")
STAGE_SECONDS = _histogram("stage_seconds", "Stages of jobs that succeeded.", label="stage")
REAL_TIME_FACTOR = _histogram(
    "real_time_factor",
    "Of jobs that succeeded: seconds of all their music, by those from the first runner to the result.",
    _FACTORS,
)
SONGS = _counter("songs", "Songs made.")
AUDIO_SECONDS = _counter("audio_seconds", "Music made, by its length.")
CALLBACKS = _counter("callbacks", "Tries to deliver callbacks.", "outcome", get_args(Delivery))
STORE_ERRORS = _counter("store_errors", "Reads and writes that the job store refused.")
SET_ASIDE = _counter("records_set_aside", "Records of jobs that could not be read, and were set aside.")

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

# Of each replica of the API

API_KEYS_OUTDATED = _gauge(
    "api_keys_outdated", "1 while `api.keys_file` cannot be read or is wrong, and earlier keys are in use."
)

INGRESS_METRICS = (API_KEYS_OUTDATED,)

# Of each LanguageModel replica; vLLM adds its own (`ray_vllm_...`)

LM_TOKENS = _counter(
    "language_model_tokens", "Codes and metadata tokens written; those of a guided pair count once."
)
LM_GUIDED_PAIRS = _counter("language_model_guided_pairs", "Guided runs begun; each takes two rows.")
LM_ROWS = _counter("language_model_rows", "Rows decoded, summed over the engine's steps.")
LM_ROW_SLOTS = _counter("language_model_row_slots", "Rows that these steps had room for (max_num_seqs).")

LANGUAGE_MODEL_METRICS = (LM_TOKENS, LM_GUIDED_PAIRS, LM_ROWS, LM_ROW_SLOTS)

# Of each Generator replica

DIT_FORWARDS = _counter("generator_forwards", "Forwards of the DiT; songs in one make a step each.")
DIT_SECONDS = _counter(
    "generator_forward_seconds", "Time in forwards of the DiT; of those side by side the sum."
)
DIT_SONG_STEPS = _counter("generator_song_steps", "Steps of songs, summed over the forwards.")
DIT_TOKENS = _counter("generator_tokens", "Tokens in forwards of the DiT.")
DIT_TOKEN_SLOTS = _counter(
    "generator_token_slots",
    "Tokens that these forwards had room for (tokens_per_forward, or one longer song).",
)
DIT_FRAMES = _counter("generator_frames", "Latent frames in forwards of the DiT, padding included.")
DIT_PADDING_FRAMES = _counter("generator_padding_frames", "Of these, those that only fill up a patch.")

GENERATOR_METRICS = (
    DIT_FORWARDS,
    DIT_SECONDS,
    DIT_SONG_STEPS,
    DIT_TOKENS,
    DIT_TOKEN_SLOTS,
    DIT_FRAMES,
    DIT_PADDING_FRAMES,
)

# Of each Codec replica

VAE_FORWARDS = _counter("codec_forwards", "Forwards of the VAE, of its encoder and its decoder.")
VAE_SECONDS = _counter("codec_forward_seconds", "Time in forwards of the VAE.")
VAE_TILES = _counter("codec_tiles", "Tiles in forwards of the VAE.")
VAE_TILE_SLOTS = _counter("codec_tile_slots", "Tiles that these forwards had room for (tile_batch).")
VAE_FRAMES = _counter("codec_frames", "Latent frames of these tiles, margins included.")
VAE_MARGIN_FRAMES = _counter(
    "codec_margin_frames", "Of these, those that overlap a neighbour and are thrown away."
)

CODEC_METRICS = (VAE_FORWARDS, VAE_SECONDS, VAE_TILES, VAE_TILE_SLOTS, VAE_FRAMES, VAE_MARGIN_FRAMES)

METRICS = (*JOB_METRICS, *INGRESS_METRICS, *LANGUAGE_MODEL_METRICS, *GENERATOR_METRICS, *CODEC_METRICS)
