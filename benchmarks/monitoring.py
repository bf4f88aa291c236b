"""Draws the pictures of docs/monitoring.md: a load on the embedded default, as a real Prometheus records it.

`python -m benchmarks.monitoring FOLDER [--minutes 5] [--port 8001]`

It needs `prometheus` on the PATH. The program starts the server and Prometheus. It sends songs of 5 to 30 s
at random times and a crowd of them in the middle, cancels some jobs and deletes the recordings of some
others. Then it asks Prometheus each query of the dashboard for the whole time, and draws a picture of each
row.
"""

import argparse
import random
import shutil
import tempfile
import time
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import soundfile
import yaml
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, PercentFormatter

from acestep_client import Client, ConflictError, SongFields
from benchmarks.prometheus import Panel, Prometheus, dashboard_panels, service_discovery
from configs.settings import PROJECT_ROOT
from serve_app.local_server import local_server

RATE_INTERVAL = "1m"
STEP_SECONDS = 5
JOBS_PER_SECOND = 0.12
CROWD = 12
"""Number of jobs that arrive at once after half of the time."""
PANELS_PER_ROW = 3
UNITS = {"none": "", "s": "seconds", "bytes": "", "percentunit": ""}
"""Names of Grafana's units in the pictures."""
FORMATTERS = {"bytes": EngFormatter("B"), "percentunit": PercentFormatter(1.0)}


def main() -> int:
    """Run the load and write the pictures."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("folder", type=Path, help="where the pictures go")
    options.add_argument("--minutes", type=float, default=5)
    options.add_argument("--port", type=int, default=8001, help="of the server")
    chosen = options.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with local_server(_config(folder, chosen.port), folder / "serve.log") as server:
            server.wait_until_ready(lambda _seconds, _waiting_for: None)
            prometheus = Prometheus(folder / "prometheus", [service_discovery(server.process.pid)])
            try:
                began = time.time()
                with Client(server.url) as client:
                    _load(client, folder, 60 * chosen.minutes)
                _draw_all(prometheus, began, time.time(), chosen.folder)
            finally:
                prometheus.close()
    return 0


def _config(folder: Path, port: int) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((PROJECT_ROOT / "serve_config.yaml").read_text())
    config["http_options"]["port"] = port
    arguments = config["applications"][0]["args"]
    arguments["api"]["audio_roots"] = [str(folder)]
    arguments["jobs"] = {"store": str(folder / "jobs.sqlite3")}
    arguments["storage"] = {"uri": str(folder / "output")}
    return config


def _load(client: Client, folder: Path, seconds: float) -> None:
    """Send jobs for this many seconds. Jobs that run then continue."""
    chance = random.Random(1)
    recording = folder / "recording.wav"
    soundfile.write(recording, np.sin(np.arange(48_000) / 20), 48_000)
    began = time.monotonic()
    crowd = CROWD
    while (passed := time.monotonic() - began) < seconds:
        if passed > seconds / 2:
            for _ in range(crowd):
                client.generate(**_song(chance))
            crowd = 0
        job = client.generate(**_song(chance))
        what = chance.random()
        if what < 0.1:
            with suppress(ConflictError):  # it has ended already
                job.cancel()
        elif what < 0.2:
            lost = client.generate(task_type="cover", src_audio_path=str(recording))
            shutil.rmtree(folder / "output" / lost.id, ignore_errors=True)
        time.sleep(chance.expovariate(JOBS_PER_SECOND))


def _song(chance: random.Random) -> SongFields:
    return {
        "thinking": chance.random() < 0.8,
        "audio_duration": round(chance.uniform(5, 30), 1),
        "batch_size": chance.choice([1, 2, 2, 4]),
        "callback_url": "http://nobody.invalid/" if chance.random() < 0.2 else None,
    }


def _draw_all(prometheus: Prometheus, began: float, ended: float, folder: Path) -> None:
    mpl.use("agg")
    for row, panels in groupby(dashboard_panels(RATE_INTERVAL), key=lambda panel: panel.row):
        of_row = list(panels)
        lines = -(-len(of_row) // PANELS_PER_ROW)
        figure, cells = pyplot.subplots(
            lines, PANELS_PER_ROW, figsize=(12, 2.6 * lines), squeeze=False, layout="constrained"
        )
        for panel, cell in zip(of_row, cells.flat, strict=False):
            _draw(cell, panel, prometheus, began, ended)
        for empty in cells.flat[len(of_row) :]:
            empty.set_axis_off()
        name = row.lower().strip("?").replace(" ", "_")
        figure.savefig(folder / f"{name}.png", dpi=80)
        pyplot.close(figure)


def _draw(axes: Axes, panel: Panel, prometheus: Prometheus, began: float, ended: float) -> None:
    """Draw one panel against the minutes since the beginning."""
    for query in panel.queries:
        for series in prometheus.range(query.expression, began, ended, STEP_SECONDS):
            times, texts = zip(*series["values"], strict=True)
            minutes = [(moment - began) / 60 for moment in times]
            axes.plot(minutes, [float(text) for text in texts], label=query.legend_of(series["metric"]))
    axes.set_title(panel.title, fontsize=9)
    axes.set_ylabel(UNITS[panel.unit], fontsize=7)
    axes.set_xlabel("minutes", fontsize=7)
    axes.set_xlim(0, (ended - began) / 60)
    axes.set_ylim(0, 1.3 * axes.dataLim.y1 or 1)  # The free space above the curves holds the legend.
    if panel.unit in FORMATTERS:
        axes.yaxis.set_major_formatter(FORMATTERS[panel.unit])
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=6, loc="upper left", ncols=2)


if __name__ == "__main__":
    raise SystemExit(main())
