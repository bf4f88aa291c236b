"""Measures the device's peaks, the VAE, sampling, and how the Generator runs out of memory."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_check.dit import Figures
from benchmarks.gpu_check.measuring import milliseconds, peak_gigabytes
from benchmarks.gpu_check.sizes import Sizes
from benchmarks.random_generator import random_generator
from benchmarks.random_vae import CHANNELS, random_vae
from configs.domain import INSTRUCTIONS, LATENT_RATE, Task, latent_frames
from deployments.codec.engine import VaeEngine
from deployments.common.messages import DenoiseRequest, Metadata, Sampling
from deployments.generator.batcher import StepBatcher
from deployments.generator.engine import FinishedSong, GeneratorEngine
from deployments.generator.text_encoder import PromptTokenizer, TextEncoder
from deployments.language_model.sampling import draw


def peaks(sizes: Sizes) -> Iterator[Figures]:
    """Measure the fastest matrix product and copy, with which all other figures can be compared."""
    size = sizes.product
    left, right = torch.randn(2, size, size, device=sizes.device, dtype=torch.bfloat16)
    taken = milliseconds(lambda: left @ right, sizes.device, 4 * sizes.repeats)
    name = torch.cuda.get_device_name(sizes.device) if sizes.on_gpu else "CPU"
    yield {"what": f"bfloat16 product, TFLOP/s ({name})", "value": 2 * size**3 / taken / 1e9}
    source = torch.empty(sizes.copied_bytes // 2, device=sizes.device, dtype=torch.uint8)
    target = torch.empty_like(source)
    taken = milliseconds(lambda: target.copy_(source), sizes.device, 4 * sizes.repeats)
    yield {"what": "copy, GB/s read and written", "value": 2 * source.nbytes / taken / 1e6}


@torch.inference_mode()
def decode_tiles(sizes: Sizes) -> Iterator[Figures]:
    """Decode tiles with a VAE of the official shape. Its weights are random, so its samples mean nothing."""
    for frames, count, compiled in [(*tile, way) for way in (False, True) for tile in sizes.tiles]:
        vae = random_vae(sizes.vae_channels)
        engine = VaeEngine(vae, str(sizes.device), torch.bfloat16, frames, compiled=compiled)
        latents = np.random.default_rng(0).standard_normal((frames, CHANNELS), dtype=np.float32)
        passes = [engine.decoding(latents) for _ in range(count)]
        batch = [(one, one.tiles[0]) for one in passes]
        taken = milliseconds(partial(engine.run, batch), sizes.device, sizes.repeats)
        allocated, reserved = peak_gigabytes(partial(engine.run, batch), sizes.device)
        yield {
            "frames": frames,
            "tiles": count,
            "activations compiled": compiled,
            "ms": taken,
            "ms a second of audio": taken / (frames * count / LATENT_RATE),
            "peak, GB": allocated,
            "reserved, GB": reserved,
        }


def sample(sizes: Sizes) -> Iterator[Figures]:
    """Sample the codes of many songs at once, late in their songs."""
    rows, tokens = sizes.sampled_rows, sizes.sampled_tokens
    torch.manual_seed(0)
    logits = 2 * torch.randn(rows, tokens, device=sizes.device)
    history = [list(range(min(1500, tokens))) for _ in range(rows)]
    for named, sampling in {
        "default": Sampling(seed=0),
        "top-k 50": Sampling(seed=0, top_k=50),
        "penalty 1.1": Sampling(seed=0, repetition_penalty=1.1),
        "greedy": Sampling(seed=0, temperature=0.0),
    }.items():
        samplings = [replace(sampling, seed=seed) for seed in range(rows)]
        taken = milliseconds(partial(draw, logits, samplings, history), sizes.device, sizes.repeats)
        together = draw(logits, samplings, history).tolist()
        alone = [
            int(draw(logits[row : row + 1], samplings[row : row + 1], history[row : row + 1]))
            for row in range(rows)
        ]
        yield {
            "sampling": named,
            "rows": rows,
            "microseconds a step": 1000 * taken,
            "rows drawn as if alone": f"{sum(map(int.__eq__, together, alone))} of {rows}",
        }


def run_out_of_memory(sizes: Sizes) -> Iterator[Figures]:
    """Make songs that do not fit into one forward's memory.

    Forwards become smaller, and all songs are made.
    """
    layers, width = sizes.generator
    engine = _engine(layers, width, sizes.device)
    count, seconds = sizes.songs
    request = DenoiseRequest(
        task=Task.TEXT2MUSIC,
        instruction=INSTRUCTIONS[Task.TEXT2MUSIC],
        caption="calm piano",
        lyrics="[Instrumental]",
        language="en",
        metadata=Metadata(duration=seconds),
        frames=latent_frames(seconds),
        seed=0,
    )
    if sizes.on_gpu:
        _leave_room_for(engine, request, songs=count / 3)
    forwards: list[int] = []
    batcher = StepBatcher(engine, 1 << 20, on_forward=lambda forward: forwards.append(forward.songs))
    finished = asyncio.run(_finished(batcher, [replace(request, seed=seed) for seed in range(count)]))
    if sizes.on_gpu:
        torch.cuda.set_per_process_memory_fraction(1.0, sizes.device)
    yield {
        "songs": count,
        "finished": finished,
        "songs in a forward at last": min(forwards),
        "ok": finished == count and (min(forwards) < count or not sizes.on_gpu),
    }


async def _finished(batcher: StepBatcher, requests: list[DenoiseRequest]) -> int:
    async def one(request: DenoiseRequest) -> int:
        async with aclosing(batcher.run([request])) as news:
            return sum([isinstance(answer, FinishedSong) async for _, answer in news])

    return sum(await asyncio.gather(*map(one, requests)))


def _engine(layers: int, width: int, device: torch.device) -> GeneratorEngine:
    made = random_generator(layers, width)
    made.to(torch.bfloat16)
    modules: Any = made.modules
    for part in (
        modules.transformer,
        modules.condition_encoder,
        modules.audio_tokenizer,
        modules.audio_token_detokenizer,
        made.text_encoder,
    ):
        part.to(device)
    text_encoder, tokenizer = TextEncoder(made.text_encoder), PromptTokenizer(made.tokenizer)
    return GeneratorEngine(made.checkpoint, modules, text_encoder, tokenizer, compiled=False)


def _leave_room_for(engine: GeneratorEngine, request: DenoiseRequest, songs: float) -> None:
    """Limit this process to the memory of the model and of forwards with this many songs."""
    torch.cuda.empty_cache()
    resting = torch.cuda.memory_allocated()
    song = engine.start(request)
    torch.cuda.reset_peak_memory_stats()
    engine.velocities([song])
    needed = torch.cuda.max_memory_allocated() - resting
    engine.free_memory()
    del song
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((resting + songs * needed) / total)
