"""Measures the official models' shapes on a CPU: seconds by stage, and memory of each process.

    python -m benchmarks.official_shapes --models FOLDER --json official.json

The server is started with `configs/cpu.yaml` on random weights (`official_checkpoints.py`), which are written
into FOLDER the first time. Memory is the proportional set size of each process of the server, with Ray's own.
"""

import argparse
import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import Any

import yaml

from benchmarks.end_to_end import mix
from benchmarks.end_to_end.load import closed_loop
from benchmarks.end_to_end.processes import memory, memory_table, processor_seconds, watched_memory
from benchmarks.measuring import machine, product_gflops, show, write_json
from benchmarks.official_checkpoints import official_models
from configs.settings import PROJECT_ROOT
from serve_app.local_server import LocalServer, local_server

CONFIG = PROJECT_ROOT / "configs" / "cpu.yaml"
ENGINES = ("LanguageModel", "Generator", "Codec")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True, help="folder of the checkpoints")
    parser.add_argument("--config", type=Path, default=CONFIG, help="Serve config file")
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 60], help="lengths of the songs")
    parser.add_argument("--repeat", type=int, default=1, help="songs of each length; the median counts")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    models = official_models(options.models.resolve())
    with tempfile.TemporaryDirectory() as folder:
        config = _config(options.config, models.folder, Path(folder))
        with local_server(config, Path(folder, "serve.log")) as server:
            start = server.wait_until_ready(lambda _seconds, _waiting_for: None)
            at_rest = memory(server.process.pid)
            with watched_memory(server.process.pid) as peaks:
                rows = [_songs(server, length, options.repeat) for length in options.seconds]
            again_at_rest = memory(server.process.pid)
    tables = {
        "Seconds by stage": rows,
        "Memory": [
            row | {"afterwards, MiB": again_at_rest.get(row["process"], sum(again_at_rest.values())) / 2**20}
            for row in memory_table(at_rest, peaks)
        ],
    }
    for title, table in tables.items():
        show(title, table)
    import torch

    figures = {
        **machine(torch.get_num_threads()),
        "start, s": start,
        "bfloat16_product_gflops": product_gflops(torch.bfloat16),
        "float32_product_gflops": product_gflops(torch.float32),
    }
    print(*(f"{name}: {value}" for name, value in figures.items()), sep="\n")
    write_json(options.json, figures | {"tables": tables})


def _config(file: Path, models: Path, folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(file.read_text())
    arguments = config["applications"][0]["args"]
    arguments["models"] |= {"source": "folder", "folder": str(models)}
    arguments["jobs"] = {**arguments.get("jobs", {}), "store": str(folder / "jobs.sqlite3")}
    arguments["storage"] = {"uri": str(folder / "output")}
    return config


def _songs(server: LocalServer, length: int, count: int) -> dict[str, Any]:
    """Return the median of `count` songs. Processor time is more reliable than seconds beside other work."""
    pid = server.process.pid
    before = processor_seconds(pid)
    requests = [mix.one_song(length, seed=length + number) for number in range(count)]
    records = asyncio.run(closed_loop(server.url, requests, clients=1))
    spent = {name: seconds - before.get(name, 0.0) for name, seconds in processor_seconds(pid).items()}
    stages = {
        f"{name}, s": statistics.median(record.stages[name] for record in records)
        for name in records[0].stages
    }
    return {
        "audio, s": length,
        "seconds": statistics.median(record.latency for record in records),
        **stages,
        **{f"{name}, processor s": spent[name] / count for name in ENGINES},
    }


if __name__ == "__main__":
    main()
