"""Calls the models in a loop without a server, which shows the cost of a job without anything in between.

    python -m benchmarks.peers.direct requests.json --output FOLDER [--models FOLDER] [--threads 2]

It prints the seconds and the stages of each job as JSON. The first request is a warm-up and does not count.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.song_maker import SongMaker
from benchmarks.peers.song_request import SongRequest
from benchmarks.tiny_models import TINY_MODELS
from configs.settings import ModelSettings
from deployments.common.processor import keep_freed_memory, use_threads


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("requests", type=Path, help="JSON: a list of requests")
    parser.add_argument("--output", type=Path, required=True, help="folder of the songs")
    parser.add_argument("--models", type=Path, help="folder of the checkpoints; without, tiny ones")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    chosen = parser.parse_args()
    use_threads(chosen.threads)
    keep_freed_memory()
    maker = SongMaker(ModelSettings(source="folder", folder=chosen.models) if chosen.models else TINY_MODELS)
    made: list[dict[str, Any]] = []
    for number, fields in enumerate(json.loads(chosen.requests.read_text())):
        folder = chosen.output / str(number)
        folder.mkdir(parents=True)
        began = time.perf_counter()
        songs = maker.make(SongRequest(**fields), folder)
        made.append({"seconds": time.perf_counter() - began, "stages": songs.timings})
    print(json.dumps(made[1:]))


if __name__ == "__main__":
    main()
