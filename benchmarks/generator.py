"""Compares the step batcher with diffusers' AceStepPipeline, which makes one song of a turbo model at a time.

    python -m benchmarks.generator --json generator.json

Both sides run the very same random modules in one process, with the same threads and dtype, from prompts to
latents. The pipeline crashes on some durations: those are left out and counted.
"""

import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import AceStepPipeline, FlowMatchEulerDiscreteScheduler
from transformers import PreTrainedTokenizerFast

from benchmarks.measuring import (
    Cost,
    machine,
    measured,
    million_parameters,
    options,
    product_gflops,
    running_threads,
    show,
    write_json,
)
from benchmarks.peers.song_request import peer_crashes
from benchmarks.random_generator import RandomGenerator, random_generator
from benchmarks.words import lyrics, words
from configs.domain import INSTRUCTIONS, Task, latent_frames
from configs.settings import GeneratorSettings
from deployments.common.messages import DenoiseRequest, DiffusionOptions, Metadata
from deployments.common.processor import engine_thread, keep_freed_memory
from deployments.common.processor_share import ProcessorShare, Share
from deployments.generator.adapters.mounting import Mount
from deployments.generator.batcher import StepBatcher
from deployments.generator.engine import GeneratorEngine, Song, Velocities
from deployments.generator.tasks import NO_RECORDINGS, RecordingLatents
from deployments.generator.text_encoder import PromptTokenizer, TextEncoder
from deployments.tiny_checkpoints.tokenizer import END_OF_TEXT

Span = tuple[float, float]
"""Start and stop on the performance counter, in seconds."""


@dataclass(frozen=True)
class Job:
    """One song that both sides make."""

    caption: str
    lyrics: str
    seconds: float
    seed: int

    @property
    def request(self) -> DenoiseRequest:
        return DenoiseRequest(
            task=Task.TEXT2MUSIC,
            instruction=INSTRUCTIONS[Task.TEXT2MUSIC],
            caption=self.caption,
            lyrics=self.lyrics,
            language="en",
            metadata=Metadata(duration=self.seconds),
            frames=latent_frames(self.seconds),
            seed=self.seed,
            options=DiffusionOptions(dcw_enabled=False),  # The pipeline does not correct steps.
        )


class TimedEngine(GeneratorEngine):
    """An engine that records the time of its calls."""

    def watch(self) -> None:
        self.prepared: list[Span] = []
        self.forwards: list[Span] = []
        """The forwards of all threads."""
        self.frames: list[int] = []
        """The latent frames of each song in each forward."""

    def start(
        self,
        request: DenoiseRequest,
        recordings: RecordingLatents = NO_RECORDINGS,
        mount: Mount | None = None,
    ) -> Song:
        started = time.perf_counter()
        song = super().start(request, recordings, mount)
        self.prepared.append((started, time.perf_counter()))
        return song

    def velocities(self, songs: Sequence[Song]) -> list[Velocities]:
        started = time.perf_counter()
        found = super().velocities(songs)
        self.forwards.append((started, time.perf_counter()))
        self.frames += [song.trajectory.frames for song in songs]
        return found


def covered(spans: Iterable[Span]) -> float:
    """Return the seconds that at least one of `spans` covers."""
    seconds, until = 0.0, float("-inf")
    for start, stop in sorted(spans):
        seconds += max(0.0, stop - max(start, until))
        until = max(until, stop)
    return seconds


@dataclass(frozen=True)
class Contest:
    """Both contestants, which use the same modules."""

    engine: TimedEngine
    peer: AceStepPipeline
    thread: ThreadPoolExecutor
    """The thread in which both sides compute, one after the other.

    Our side also runs a forward on each further core.
    """
    share: Share
    """The cores that our side may use."""

    @classmethod
    def of(cls, model: RandomGenerator, thread: ThreadPoolExecutor, share: Share) -> "Contest":
        engine = TimedEngine(
            model.checkpoint, model.modules, TextEncoder(model.text_encoder), PromptTokenizer(model.tokenizer)
        )
        engine.watch()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=model.tokenizer, pad_token=END_OF_TEXT)
        peer = AceStepPipeline(
            vae=None,
            text_encoder=model.text_encoder,
            tokenizer=tokenizer,
            transformer=model.modules.transformer,
            condition_encoder=model.modules.condition_encoder,
            scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0),
        )
        peer.set_progress_bar_config(disable=True)
        return cls(engine, peer, thread, share)

    def ours(self, jobs: Sequence[Job], tokens_per_forward: int) -> Cost:
        """Send all of `jobs` at once, and return what they cost."""

        async def follow(batcher: StepBatcher, job: Job) -> None:
            async with aclosing(batcher.run([job.request])) as news:
                async for _ in news:
                    pass

        async def everything() -> None:
            batcher = StepBatcher(self.engine, tokens_per_forward, self.thread, share=self.share)
            await asyncio.gather(*(follow(batcher, job) for job in jobs))

        self.engine.watch()
        return measured(lambda: asyncio.run(everything()))[0]

    def theirs(self, jobs: Sequence[Job]) -> Cost:
        """Run the same jobs one after the other in the pipeline, and return what they cost."""
        # The pipeline uses all cores, whatever share our side had at its end.
        self.thread.submit(self.share.set_threads).result()
        return measured(lambda: list(self.thread.map(self._peer_call, jobs)))[0]

    @torch.inference_mode()
    def _peer_call(self, job: Job) -> None:
        self.peer(
            prompt=job.caption,
            lyrics=job.lyrics,
            audio_duration=job.seconds,
            guidance_scale=1.0,
            generator=torch.Generator().manual_seed(job.seed),
            output_type="latent",
        )


def jobs_of(durations: Sequence[float]) -> list[Job]:
    """Return songs of these lengths, each with a prompt and lyrics of its own."""
    rng = random.Random(0)
    return [Job(words(rng, 10), lyrics(rng), duration, seed) for seed, duration in enumerate(durations)]


def mixed_durations(count: int, shortest: float, longest: float) -> tuple[list[float], int]:
    """Draw durations in tenths of a second.

    Return those that the peer can make, and the number of the others.
    """
    rng = random.Random(1)
    possible: list[float] = []
    crashing = 0
    while len(possible) < count:
        duration = round(rng.uniform(shortest, longest), 1)
        if peer_crashes(duration):
            crashing += 1
        else:
            possible.append(duration)
    return possible, crashing


def compare(
    contest: Contest, jobs: Sequence[Job], tokens_per_forward: int, rounds: int = 1
) -> dict[str, Any]:
    """Return one row: `jobs` sent at once to us and one by one to the peer, the best of `rounds`."""
    runs = [(contest.theirs(jobs), contest.ours(jobs, tokens_per_forward)) for _ in range(rounds)]
    theirs, ours = (reduce(Cost.best, side) for side in zip(*runs, strict=True))
    last, engine = runs[-1][1], contest.engine  # The engine's records are those of the last run.
    outside = last.seconds - covered([*engine.prepared, *engine.forwards])
    padded = sum(count % 2 for count in engine.frames)
    return {
        "jobs": len(jobs),
        "ours, songs/s": len(jobs) / ours.seconds,
        "peer, songs/s": len(jobs) / theirs.seconds,
        "ratio": theirs.seconds / ours.seconds,
        "ratio of processor time": theirs.processor_seconds / ours.processor_seconds,
        "preparing, %": 100 * covered(engine.prepared) / last.seconds,
        "ticks": len(engine.forwards),
        "overhead a tick, ms": 1000 * outside / len(engine.forwards),
        "padding, %": 100 * padded / (sum(engine.frames) + padded),
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--tokens-per-forward", type=int, default=GeneratorSettings().tokens_per_forward)
    parser.add_argument("--rounds", type=int, default=2, help="the best counts")
    chosen = parser.parse_args()
    counts = [1, 2] if chosen.quick else chosen.jobs
    short, longest = (1.0, 3.0) if chosen.quick else (10.0, 60.0)
    layers, width = (4, 128) if chosen.quick else (24, 512)
    thread = engine_thread("benchmark")
    model = thread.submit(random_generator, layers=layers, width=width).result()
    mixed, crashing = mixed_durations(max(counts), short, longest)
    workloads = {
        f"songs of {short:g} s": [short] * max(counts),
        f"songs of {short:g} to {longest:g} s": mixed,
    }
    figures: dict[str, Any] = {
        **machine(chosen.threads),
        "dit_million_parameters": million_parameters(model.modules.transformer),
        "durations_on_which_the_peer_crashes": crashing,
        "tables": {},
    }
    keep_freed_memory()  # This setting applies to both sides.
    with running_threads(chosen.threads), TemporaryDirectory() as folder:
        share = ProcessorShare(Path(folder), chosen.threads, torch._C.set_num_threads)
        for dtype in chosen.dtypes:
            thread.submit(model.to, getattr(torch, dtype)).result()
            contest = thread.submit(Contest.of, model, thread, share).result()
            thread.submit(share.set_threads).result()
            figures[f"{dtype}_product_gflops"] = thread.submit(product_gflops, getattr(torch, dtype)).result()
            # This short song warms both sides up.
            compare(contest, jobs_of([short]), chosen.tokens_per_forward)
            for workload, durations in workloads.items():
                jobs = jobs_of(durations)
                title = f"{dtype}, {workload}"
                budget = chosen.tokens_per_forward
                table = [compare(contest, jobs[:count], budget, chosen.rounds) for count in counts]
                figures["tables"][title] = table
                show(title, table)
    print(*(f"{name}: {value}" for name, value in figures.items() if name != "tables"), sep="\n")
    write_json(chosen.json, figures)


if __name__ == "__main__":
    main()
