"""Runs a real Prometheus on a free loopback port, with the repository's own config file and rules."""

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import httpx
import psutil
import yaml

from configs.settings import PROJECT_ROOT

MONITORING = PROJECT_ROOT / "configs" / "monitoring"
DASHBOARD = MONITORING / "dashboard.json"
ALERTS = MONITORING / "alerts.yaml"
CONFIG = MONITORING / "prometheus.yaml"
SERVICE_DISCOVERY = "prom_metrics_service_discovery.json"
"""Name of the file in which Ray lists its nodes."""


@dataclass(frozen=True)
class Query:
    """One query of a panel."""

    expression: str
    legend: str

    def legend_of(self, labels: Mapping[str, str]) -> str:
        """Return the panel's name for one of its series."""
        return re.sub(r"{{(\w+)}}", lambda name: labels.get(name[1], ""), self.legend)


@dataclass(frozen=True)
class Panel:
    """One picture of the dashboard."""

    row: str
    title: str
    unit: str
    queries: tuple[Query, ...]


def dashboard_panels(rate_interval: str) -> list[Panel]:
    """Return the panels in order. `rate_interval` replaces Grafana's variable."""
    panels = []
    row = ""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
            continue
        queries = tuple(
            Query(target["expr"].replace("$__rate_interval", rate_interval), target["legendFormat"])
            for target in panel["targets"]
        )
        panels.append(Panel(row, panel["title"], panel["fieldConfig"]["defaults"]["unit"], queries))
    return panels


def is_installed() -> bool:
    return shutil.which("prometheus") is not None and shutil.which("promtool") is not None


def service_discovery(server_pid: int) -> Path:
    """Return the path of Ray's list of nodes for a server that `local_server` started."""
    option = "--session-dir="
    for process in psutil.Process(server_pid).children(recursive=True):
        for word in process.cmdline():
            if word.startswith(option):
                return Path(word.removeprefix(option)) / SERVICE_DISCOVERY
    raise AssertionError(f"process {server_pid} has started no Ray")


class Prometheus:
    """Scrapes the servers that some `service_discovery` files list. Prometheus must be installed."""

    def __init__(self, folder: Path, targets: Sequence[Path], scrape_seconds: int = 2) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = yaml.safe_load(CONFIG.read_text())
        interval = f"{scrape_seconds}s"
        config["global"] = {"scrape_interval": interval, "evaluation_interval": interval}
        config["rule_files"] = [str(ALERTS)]
        config["scrape_configs"][0]["file_sd_configs"][0]["files"] = [str(path) for path in targets]
        config_file = folder / "prometheus.yaml"
        config_file.write_text(yaml.safe_dump(config))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._log: TextIO = (folder / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config_file}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._http = httpx.Client(base_url=f"http://{address}", timeout=30)
        self._wait_until_ready()

    def value(self, expression: str) -> float:
        """Return the current value of the only series of an expression, or 0 if there is none."""
        found = self._get("query", query=expression)["result"]
        return float(found[0]["value"][1]) if found else 0.0

    def range(self, expression: str, start: float, end: float, step: float) -> list[Mapping[str, Any]]:
        """Return the series of an expression between two times.

        `metric` holds their labels, `values` [time, text].
        """
        found: list[Mapping[str, Any]] = self._get(
            "query_range", query=expression, start=start, end=end, step=step
        )["result"]
        return found

    def alerts(self) -> list[Mapping[str, Any]]:
        """Return the state of every alert rule."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._http.close()
        self._log.close()

    def _get(self, path: str, **parameters: Any) -> Any:
        answer = self._http.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == httpx.codes.OK, f"{parameters}: {answer.text}"
        return answer.json()["data"]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                if self._http.get("/-/ready").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            assert self._process.poll() is None, "Prometheus ended"
            assert time.monotonic() < deadline, "Prometheus did not start"
            time.sleep(0.1)
