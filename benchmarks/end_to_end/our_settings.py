"""The settings of our server in the benchmark, where they are not those of serve_config.yaml."""

from typing import Any

from configs.settings import ModelSettings

RUNNERS = 16
"""Jobs that it works on at a time: as many as the busiest section sends, so that stages overlap."""
UNLIMITED = 10**6


def engine_arguments(models: ModelSettings, threads: int | None) -> dict[str, Any]:
    """`args:` of the models: all that a replica must know."""
    return {
        "models": models.model_dump(mode="json", include={"source", "folder"}),
        "language_model": {
            "threads": threads,
            "backends": ["vllm"],
            "max_num_seqs": 4 * RUNNERS,  # jobs of two songs, each guided
            "max_model_len": 4096,  # a song of 600 s has 3,000 codes
            "kv_cache_bytes": 1 << 30,
        },
        "generator": {"threads": threads},
        "codec": {"threads": threads},
    }


def queue_arguments() -> dict[str, Any]:
    """`jobs:` without its store: nobody is refused."""
    return {"runners": RUNNERS, "queue_limit": UNLIMITED, "client_jobs": UNLIMITED}
