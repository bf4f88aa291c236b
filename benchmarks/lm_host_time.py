"""Measures the host time of one decode step of the language model, by part, for guided songs.

    python -m benchmarks.lm_host_time --json lm_host_time.json
    python -m benchmarks.lm_host_time --before ../older-checkout    # both, in turns

A song of 240 s takes 1,200 steps one after the other, and between two steps a GPU waits for the host. The
model has two layers, 128 wide, and draws from 64 codes instead of 64,000, so that computing takes next to
nothing. Songs go through the engine as in a replica, with its metrics. What is measured is the
processor time of the engine's thread; the median of all steps in which every row gets a code.

"the model's forward" and "output layer" are what a CUDA graph and a few kernels replace on a GPU. "the asking
loop" is the time of the replica's event loop, which takes the codes, on its own thread.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from benchmarks.measuring import machine, options, running_threads, show, write_json

SONGS = (1, 8)
CODES_TO_DRAW_FROM = 64
LAYERS, WIDTH, TEXT_TOKENS = 2, 128, 1024
COMPUTING = ("the model's forward", "output layer")
REST = "rest of the step"


class Stopwatch:
    """Processor time of one thread by part. The time of a part within another counts for the inner one."""

    def __init__(self) -> None:
        self._spent: dict[str, int] = defaultdict(int)
        self._open: list[str] = []
        self._since = 0

    def watch(self, owner: type, method: str, part: str) -> None:
        """Count the calls of `owner.method` as `part`."""
        function = getattr(owner, method)

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(part):
                return function(*args, **kwargs)

        setattr(owner, method, timed)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def taken(self) -> dict[str, float]:
        """Milliseconds by part since the last call."""
        self._charge()
        spent = {part: nanoseconds / 1e6 for part, nanoseconds in self._spent.items()}
        self._spent.clear()
        return spent

    def _charge(self) -> None:
        now = time.thread_time_ns()
        if self._open:
            self._spent[self._open[-1]] += now - self._since
        self._since = now


class Steps:
    """The steps of an engine in which `rows` rows each get a code, with their milliseconds by part."""

    def __init__(self) -> None:
        self.rows = 0
        self.found: list[dict[str, float]] = []
        self._stopwatch = Stopwatch()
        self._scheduled: list[int] = []

    def watch(self) -> None:
        """Watch all vLLM engines of this process that are made from now on."""
        from vllm.v1.core.sched.scheduler import Scheduler
        from vllm.v1.engine.core import EngineCore
        from vllm.v1.engine.llm_engine import LLMEngine
        from vllm.v1.engine.output_processor import OutputProcessor
        from vllm.v1.metrics.loggers import StatLoggerManager
        from vllm.v1.worker.gpu_model_runner import GPUModelRunner

        from deployments.language_model.vllm_engine.backend import VLLMBackend
        from deployments.language_model.vllm_engine.guidance_processor import GuidanceProcessor
        from deployments.language_model.vllm_engine.model import AceStepLanguageModel
        from deployments.language_model.vllm_engine.pair_scheduler import PairScheduler

        watch = self._stopwatch.watch
        for method in ("schedule", "update_from_output"):
            watch(Scheduler, method, "vLLM's scheduler")
            watch(PairScheduler, method, "pair scheduler")
        watch(LLMEngine, "step", "engine's round trip")
        watch(EngineCore, "step", "engine's round trip")
        watch(GPUModelRunner, "execute_model", "input preparation")
        watch(GPUModelRunner, "_model_forward", "the model's forward")
        watch(AceStepLanguageModel, "compute_logits", "output layer")
        watch(GPUModelRunner, "sample_tokens", "vLLM's sampler")
        watch(GuidanceProcessor, "apply", "guidance and drawing")
        watch(GuidanceProcessor, "update_state", "guidance and drawing")
        watch(OutputProcessor, "process_outputs", "output processing")
        watch(StatLoggerManager, "record", "statistics")
        self._note_scheduled(Scheduler, "schedule")
        self._note_steps(VLLMBackend, "_step")

    def medians(self) -> dict[str, float]:
        parts = {part for step in self.found for part in step}
        return {part: statistics.median(step.get(part, 0.0) for step in self.found) for part in parts}

    def _note_scheduled(self, scheduler: type, method: str) -> None:
        schedule = getattr(scheduler, method)

        def noted(*args: Any, **kwargs: Any) -> Any:
            output = schedule(*args, **kwargs)
            self._scheduled.append(output.total_num_scheduled_tokens)
            return output

        setattr(scheduler, method, noted)

    def _note_steps(self, backend: type, method: str) -> None:
        step = getattr(backend, method)

        def noted(*args: Any) -> None:
            self._stopwatch.taken()
            self._scheduled.clear()
            with self._stopwatch.part(REST):
                step(*args)
            taken = self._stopwatch.taken()
            if self._scheduled == [self.rows]:
                self.found.append(taken)

        setattr(backend, method, noted)


def engine_parts(codes: int, song_counts: Sequence[int]) -> dict[str, dict[str, float]]:
    """Milliseconds of a step by part, for each number of songs, of the code that this process imports."""
    from unittest import mock

    import ray

    from benchmarks.lm import new_songs
    from benchmarks.random_language_model import build
    from configs.settings import LanguageModelSettings
    from deployments.common.messages import Sampling
    from deployments.language_model.engine import LanguageModelEngine
    from deployments.language_model.metrics import LanguageModelMetrics
    from deployments.language_model.text.tokenizer import LMTokenizer

    few_codes = property(lambda self: range(self.first_code, self.first_code + CODES_TO_DRAW_FROM))
    sampling = Sampling(seed=0, temperature=0.85, top_p=0.9, cfg_scale=2.0)
    settings = LanguageModelSettings(
        backends=("vllm",), threads=1, max_num_seqs=2 * max(song_counts), max_model_len=4096
    )
    ray.init(address="local", include_dashboard=False, log_to_driver=False, num_cpus=1)
    steps = Steps()
    steps.watch()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as models, mock.patch.object(LMTokenizer, "code_ids", few_codes):
        folder = Path(models, "narrow-lm")
        folder.mkdir()
        build(folder, LAYERS, WIDTH, TEXT_TOKENS)
        engine = LanguageModelEngine(folder, settings, LanguageModelMetrics())

        async def compose(count: int, length: int) -> None:
            async def one(request: Any) -> None:
                async for _ in engine.compose(request):
                    pass

            await asyncio.gather(*map(one, new_songs(count, length, sampling)))

        try:
            for count in song_counts:
                asyncio.run(compose(count, 20))
                steps.rows, steps.found = 2 * count, []
                started, asking = time.perf_counter(), time.thread_time()
                asyncio.run(compose(count, codes))
                seconds, asking = time.perf_counter() - started, time.thread_time() - asking
                found[f"{count} songs"] = {
                    **steps.medians(),
                    "the asking loop": 1000 * asking / codes,
                    "by the clock": 1000 * seconds / codes,
                }
        finally:
            engine.close()
    ray.shutdown()
    return found


def in_a_process(checkout: Path, codes: int, song_counts: Sequence[int]) -> dict[str, dict[str, float]]:
    """`engine_parts` of the code in the folder `checkout`."""
    arguments = ["--codes", str(codes), "--songs", *map(str, song_counts)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "parts.json")
        subprocess.run(
            [sys.executable, "-P", __file__, "--one-side", "--json", str(file), *arguments],
            env=os.environ | {"PYTHONPATH": str(checkout)},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        parts: dict[str, dict[str, float]] = json.loads(file.read_text())
    return parts


def table_of(sides: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    """A row for each part, with the least of each side's rounds; then the sums."""
    least = {
        side: {part: min(one.get(part, 0.0) for one in rounds) for part in {p for one in rounds for p in one}}
        for side, rounds in sides.items()
    }
    outside = ("the asking loop", "by the clock")
    parts = sorted(
        {part for side in least.values() for part in side} - {*COMPUTING, *outside},
        key=lambda part: -max(side.get(part, 0.0) for side in least.values()),
    )

    def row(name: str, summed: Iterable[str]) -> dict[str, Any]:
        times = {f"{side}, ms": sum(found.get(part, 0.0) for part in summed) for side, found in least.items()}
        return {"part": name, **times}

    return [
        *(row(part, [part]) for part in parts),
        row("host time of a step", parts),
        *(row(part, [part]) for part in (*COMPUTING, *outside)),
    ]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--songs", type=int, nargs="+", default=list(SONGS))
    parser.add_argument("--codes", type=int, default=400, help="of each song")
    parser.add_argument("--rounds", type=int, default=3, help="the least of each part counts")
    parser.add_argument("--before", type=Path, help="a checkout to compare with, measured in turns")
    parser.add_argument("--one-side", action="store_true", help="measure in this process and print nothing")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.codes, chosen.rounds, chosen.songs = 12, 1, [1]
    if chosen.one_side:
        with running_threads(1):
            write_json(chosen.json, engine_parts(chosen.codes, chosen.songs))
        return
    here = Path(__file__).resolve().parents[1]
    checkouts = ({"before": chosen.before.resolve()} if chosen.before else {}) | {"now": here}
    rounds = [
        {side: in_a_process(folder, chosen.codes, chosen.songs) for side, folder in checkouts.items()}
        for _ in range(chosen.rounds)
    ]
    figures: dict[str, Any] = {**machine(1), "tables": {}}
    for count in chosen.songs:
        name = f"{count} songs"
        title = f"{name}: processor time of a step"
        table = table_of({side: [one[side][name] for one in rounds] for side in checkouts})
        figures["tables"][title] = table
        show(title, table)
    write_json(chosen.json, figures)


if __name__ == "__main__":
    main()
