"""Measures the start of one of the server's processes: python -m benchmarks.end_to_end.starting_part codec

It prints the seconds of each step as JSON. `imports` are those of the process. Ray's own start is excluded.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from benchmarks.end_to_end.our_settings import engine_arguments
from benchmarks.tiny_models import TINY_MODELS
from configs.settings import ModelSettings, Settings

_Result = TypeVar("_Result")


class Clock:
    """Records the seconds of each step."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}

    def time(self, step: str, work: Callable[[], _Result]) -> _Result:
        began = time.perf_counter()
        result = work()
        self.steps[step] = time.perf_counter() - began
        return result


def ingress(clock: Clock, _settings: Settings) -> None:
    clock.time("import Ray Serve", lambda: import_module("ray.serve"))
    clock.time("import the application", lambda: import_module("serve_app.app"))


def generator(clock: Clock, settings: Settings) -> None:
    clock.time("import torch", lambda: import_module("torch"))
    engine = clock.time("other imports", lambda: import_module("deployments.generator.engine"))
    clock.time(
        "load", lambda: engine.load_engine(settings.models, settings.models.dits[0], settings.generator)
    )


def codec(clock: Clock, settings: Settings) -> None:
    torch = clock.time("import torch", lambda: import_module("torch"))
    loading = clock.time("other imports", lambda: import_module("deployments.checkpoints.vae_loading"))
    engine = clock.time("import the engine", lambda: import_module("deployments.codec.engine"))
    location = import_module("deployments.checkpoints.location")
    folder = location.checkpoint_folder(settings.models, settings.models.vae)
    vae = clock.time("load", lambda: loading.load_vae(folder, "cpu", torch.float32))
    clock.time("fold", lambda: engine.VaeEngine(vae))


def language_model(clock: Clock, settings: Settings) -> None:
    clock.time("import torch", lambda: import_module("torch"))
    clock.time("import vLLM", lambda: import_module("vllm.v1.engine.llm_engine"))
    engine = clock.time("other imports", lambda: import_module("deployments.language_model.engine"))
    location = import_module("deployments.checkpoints.location")
    folder = location.checkpoint_folder(settings.models, settings.models.language_models[0])

    async def start() -> None:
        loaded = clock.time("start vLLM", lambda: engine.LanguageModelEngine(folder, settings.language_model))
        began = time.perf_counter()
        await loaded.warm_up()
        clock.steps["warm up"] = time.perf_counter() - began
        loaded.close()

    asyncio.run(start())


PARTS: dict[str, Callable[[Clock, Settings], None]] = {
    "ingress": ingress,
    "generator": generator,
    "codec": codec,
    "language_model": language_model,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--models", type=Path, help="folder of the checkpoints; without, tiny ones")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    models = ModelSettings(source="folder", folder=chosen.models) if chosen.models else TINY_MODELS
    settings = Settings(**engine_arguments(models, chosen.threads))
    clock = Clock()
    PARTS[chosen.part](clock, settings)
    print(json.dumps(clock.steps))


if __name__ == "__main__":
    main()
