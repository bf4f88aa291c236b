"""The settings in which our server of the benchmark differs from serve_config.yaml."""

from typing import Any

from configs.settings import ModelSettings

RUNNERS = 16
"""Number of jobs that the server works on at a time.

The busiest section sends as many, so that stages overlap.
"""
UNLIMITED = 10**6


def engine_arguments(models: ModelSettings, threads: int | None) -> dict[str, Any]:
    """Return the `args:` of the models, which every replica gets."""
    return {
        "models": models.model_dump(mode="json", include={"source", "folder"}),
        "language_model": {
            "threads": threads,
            "backends": ["vllm"],
            "max_num_seqs": 4 * RUNNERS,  # Each job has two guided songs of two rows each.
            "max_model_len": 4096,  # a song of 600 s has 3,000 codes
            "kv_cache_bytes": 1 << 30,
        },
        "generator": {"threads": threads},
        "codec": {"threads": threads},
    }


def queue_arguments() -> dict[str, Any]:
    """Return `jobs:` without a store. The limits are high enough that no client is refused."""
    return {"runners": RUNNERS, "queue_limit": UNLIMITED, "client_jobs": UNLIMITED}
