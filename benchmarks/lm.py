"""Compares guided songs on the LanguageModel deployment with a transformers loop that writes one at a time.

    python -m benchmarks.lm --json lm.json

Both sides load the same random weights with the same threads and dtype, and draw with the same sampling code.
The peer runs both rows of its song in one KV-cached forward and computes the logits of the codes only. Our
side is the one that the pipeline calls: the deployment on Ray Serve, with vLLM in its replica. A second table
shows the cost of guidance: guided songs against as many unguided rows.
"""

import asyncio
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import ray
import torch
from ray import serve

from benchmarks.measuring import (
    Cost,
    machine,
    measured,
    options,
    product_gflops,
    running_threads,
    show,
    write_json,
)
from benchmarks.peers.guidance_loop import GuidanceLoop
from benchmarks.random_language_model import build, million_parameters
from configs.settings import DType, LanguageModelSettings, ModelSettings, Settings
from deployments.common.messages import AudioCodes, ComposeRequest, Metadata, Sampling
from deployments.language_model.deployment import LanguageModel

SAMPLINGS = {
    "greedy": Sampling(seed=0, temperature=0.0, cfg_scale=2.0),
    "default sampling": Sampling(seed=0, temperature=0.85, top_p=0.9, cfg_scale=2.0),
}
QWEN_TEXT_TOKENS = 151_643
NAME = "random-lm"
NEVER = Cost(float("inf"), float("inf"))


_numbers = itertools.count()


def new_songs(count: int, codes: int, sampling: Sampling) -> list[ComposeRequest]:
    """Return songs, each with words and a seed of its own, so that no prompt is in a prefix cache."""
    return [
        ComposeRequest(
            caption=f"Song {number}: a warm ballad with piano and strings",
            lyrics="[Verse 1]\n" + "we walk in the rain\n" * (1 + number % 4),
            metadata=Metadata(60 + number % 100, "C major", "4", codes / 5),
            code_count=codes,
            sampling=replace(sampling, seed=number),
            language="en",
        )
        for number in itertools.islice(_numbers, count)
    ]


async def compose(handle: Any, request: ComposeRequest) -> tuple[int, ...]:
    """Return the codes that the deployment writes for one song."""
    async for answer in handle.compose.options(stream=True).remote(request):
        if isinstance(answer, AudioCodes):
            return answer.codes
    raise RuntimeError("the deployment's answer has no codes")


async def compose_all(handle: Any, requests: Sequence[ComposeRequest]) -> list[tuple[int, ...]]:
    return await asyncio.gather(*(compose(handle, request) for request in requests))


def deploy(folder: Path, dtype: DType, threads: int, most_songs: int) -> Any:
    """Start the deployment on a Ray Serve of its own, and return its handle."""
    settings = Settings(
        models=ModelSettings(source="folder", folder=folder.parent, language_models=(folder.name,)),
        language_model=LanguageModelSettings(
            backends=("vllm",),
            dtype=dtype,
            threads=threads,
            max_num_seqs=2 * most_songs,
            max_model_len=4096,
            kv_cache_bytes=1 << 30,
        ),
    )
    application: Any = LanguageModel
    return serve.run(application.bind(settings, folder.name), name=NAME, route_prefix=None)


def compare(
    handle: Any, peer: GuidanceLoop, counts: Sequence[int], codes: int, sampling: Sampling, rounds: int
) -> list[dict[str, Any]]:
    """Return a row for each number of concurrent songs, compared with the peer; the best of `rounds`."""
    ours = dict.fromkeys(counts, NEVER)
    theirs = NEVER
    same = compared = 0
    for _ in range(rounds):  # The sides take turns, because the load of the machine changes over time.
        for count in counts:
            requests = new_songs(count, codes, sampling)
            cost, found = deployment_cost(handle, requests)
            ours[count] = ours[count].best(cost)
            cost, (expected,) = measured(partial(peer.songs, requests[-1:]))
            theirs = theirs.best(cost)
            same += found[-1] == expected
            compared += 1
    return [
        {
            "songs": count,
            "ours, codes/s": count * codes / cost.seconds,
            "peer, codes/s": codes / theirs.seconds,
            "ratio": count * theirs.seconds / cost.seconds,
            "ratio of processor time": count * theirs.processor_seconds / cost.processor_seconds,
            "ours, ms a step": 1000 * cost.seconds / codes,
            "songs with the peer's codes": f"{same} of {compared}",
        }
        for count, cost in ours.items()
    ]


def guidance_cost(handle: Any, count: int, codes: int, sampling: Sampling, rounds: int) -> dict[str, Any]:
    """Compare `count` guided songs with twice as many unguided ones.

    Both have the same number of rows, and the best of `rounds` counts.
    """
    alone = replace(sampling, cfg_scale=1.0)
    guided = unguided = NEVER
    for _ in range(rounds):
        guided = guided.best(deployment_cost(handle, new_songs(count, codes, sampling))[0])
        unguided = unguided.best(deployment_cost(handle, new_songs(2 * count, codes, alone))[0])
    return {
        "guided songs": count,
        "guided, ms a step": 1000 * guided.seconds / codes,
        "unguided rows, ms a step": 1000 * unguided.seconds / codes,
        "ratio": guided.seconds / unguided.seconds,
        "ratio of processor time": guided.processor_seconds / unguided.processor_seconds,
    }


def deployment_cost(handle: Any, requests: Sequence[ComposeRequest]) -> tuple[Cost, list[tuple[int, ...]]]:
    """Send all `requests` at once.

    Return their cost, with the processor time of all of Ray's processes, and codes.
    """
    before = _family_seconds()
    cost, found = measured(lambda: asyncio.run(compose_all(handle, requests)))
    return replace(cost, processor_seconds=_family_seconds() - before), found


def _family_seconds() -> float:
    """Return the processor time so far of this process and all of its descendants."""
    this = psutil.Process()
    times = [process.cpu_times() for process in (this, *this.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def tables_of(
    folder: Path, dtype: DType, threads: int, counts: Sequence[int], codes: int, rounds: int
) -> dict[str, Any]:
    """Measure one dtype. Print its tables as they come, and return them."""
    handle = deploy(folder, dtype, threads, max(counts))
    peer = GuidanceLoop(folder, getattr(torch, dtype))
    tables: dict[str, Any] = {}
    for name, sampling in SAMPLINGS.items():
        warm_up = new_songs(max(counts), 5, sampling)
        asyncio.run(compose_all(handle, warm_up))
        peer.songs(warm_up[:1])
        title = f"{dtype}, {name}"
        tables[title] = compare(handle, peer, counts, codes, sampling, rounds)
        show(title, tables[title])
        title += ", the cost of guidance"
        tables[title] = [guidance_cost(handle, max(1, max(counts) // 2), codes, sampling, rounds)]
        show(title, tables[title])
    serve.delete(NAME)
    return tables


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--songs", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--codes", type=int, default=100, help="of each song; five are a second of music")
    parser.add_argument("--rounds", type=int, default=3, help="the best counts")
    parser.add_argument("--text-tokens", type=int, default=QWEN_TEXT_TOKENS)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.songs, chosen.codes, chosen.rounds, chosen.text_tokens = [1, 2], 12, 1, 1024
    layers, width = (2, 128) if chosen.quick else (11, 768)
    with tempfile.TemporaryDirectory() as models, running_threads(chosen.threads):
        folder = Path(models) / NAME
        folder.mkdir()
        build(folder, layers, width, chosen.text_tokens)
        parameters, vocabulary = million_parameters(folder)
        figures: dict[str, Any] = {
            **machine(chosen.threads),
            "million_parameters": parameters,
            "million_parameters_of_the_vocabulary": vocabulary,
            "codes_per_song": chosen.codes,
            "tables": {},
        }
        ray.init(address="local", include_dashboard=False, log_to_driver=False)
        serve.start(proxy_location="Disabled")
        for dtype in chosen.dtypes:
            figures[f"{dtype}_product_gflops"] = product_gflops(getattr(torch, dtype))
            figures["tables"] |= tables_of(
                folder, dtype, chosen.threads, chosen.songs, chosen.codes, chosen.rounds
            )
        ray.shutdown()
    print(*(f"{name}: {value}" for name, value in figures.items() if name != "tables"), sep="\n")
    write_json(chosen.json, figures)


if __name__ == "__main__":
    main()
