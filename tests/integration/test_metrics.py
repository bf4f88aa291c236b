"""The metrics of running servers, as their nodes export them and as a real Prometheus reads them."""

import json
import math
import re
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.prometheus import (
    ALERTS,
    CONFIG,
    Panel,
    Prometheus,
    dashboard_panels,
    is_installed,
    service_discovery,
)
from configs import metrics
from configs.metrics import METRICS, Metric
from serve_app.execution.failures import UNAVAILABLE
from tests.audio import write_recording
from tests.live_server import GUARDED_QUEUE, Client, GuardedServer
from tests.tiny_dits import BASE

EXPORT_TIMEOUT_SECONDS = 60
"""Ray exports every 2 s here (tests/live_server.py), and later on a busy machine."""
RATE_INTERVAL = "1m"
ALERT_TESTS = Path(__file__).parents[1] / "data" / "alert_rules.yaml"
SONG_SECONDS = 12.2
"""Longer than a tile of the codec, with an odd number of latent frames."""
CODES, STEPS, TILES = 61, 8, 2
"""Counts for such a song."""
JOBS = 2
BATCH = 2
QUEUE_GAUGES = (metrics.QUEUE_DEPTH, metrics.QUEUE_AGE, metrics.RUNNING_JOBS)
ALARMS = (metrics.API_KEYS_OUTDATED, metrics.UNOWNED_FOLDERS, metrics.CLOCK_AHEAD)
"""Gauges that are 0 when all is well."""
FAULTS = (metrics.SET_ASIDE,)
"""Counters that stay unset here.

Ray exports no counter before its first count, and the load damages no record.
"""
VLLM_METRICS = ("ray_vllm_prefix_cache_queries_total", "ray_vllm_prefix_cache_hits_total")

CONNECTS = 6
"""How often a refused connection is tried again, after 0, 0.5, 1, 2, 4 and 8 seconds."""
Shown = Counter[tuple[str, str]]
"""For each (series, value of its label or ""), the sum over all processes."""


@dataclass(frozen=True)
class Endpoints:
    """The endpoints that Prometheus would scrape."""

    lists: Sequence[Path]

    def shown(self) -> Shown:
        """Return every current series of the application."""
        found: Shown = Counter()
        labels = {metric.exported: metric.label for metric in METRICS}
        entries = [entry for path in self.lists for entry in json.loads(path.read_text())]
        # A node lists its endpoint before it listens there.
        with httpx.Client(transport=httpx.HTTPTransport(retries=CONNECTS), timeout=30) as http:
            for target in [target for entry in entries for target in entry["targets"]]:
                for family in text_string_to_metric_families(http.get(f"http://{target}/metrics").text):
                    for sample in family.samples:
                        label = labels.get(re.sub("_(bucket|count|sum)$", "", sample.name))
                        found[sample.name, sample.labels[label] if label else ""] += sample.value
        return found

    def wait_for(self, seen: Callable[[Shown], bool]) -> Shown:
        """Wait until the series are as wanted, and return them."""
        deadline = time.monotonic() + EXPORT_TIMEOUT_SECONDS
        while not seen(shown := self.shown()):
            assert time.monotonic() < deadline, shown
            time.sleep(1)
        return shown


def value(shown: Shown, metric: Metric, label: str | None = None) -> float:
    """Return the sum over all labels, or the value of one.

    For a histogram it is the number of observations.
    """
    name = metric.exported + ("_count" if metric.kind == "histogram" else "")
    return sum(shown[key] for key in shown if key[0] == name and label in {None, key[1]})


@dataclass(frozen=True)
class Load:
    """The series before, in the middle of and after some work."""

    endpoints: Endpoints
    before: Shown
    crowded: Shown
    crowd: int
    """Number of jobs of the crowd that were cancelled."""
    after: Shown
    began: float
    ended: float

    def increase(self, metric: Metric, label: str | None = None) -> float:
        return value(self.after, metric, label) - value(self.before, metric, label)


@pytest.fixture(scope="module")
def endpoints(server: Client, guarded: GuardedServer) -> Endpoints:
    return Endpoints([service_discovery(server.pid), service_discovery(guarded.alice.pid)])


@pytest.fixture(scope="module")
def prometheus(endpoints: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus | None]:
    """Start Prometheus. The result is None when it is not installed."""
    if not is_installed():
        yield None
        return
    prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), endpoints.lists)
    yield prometheus
    prometheus.close()


@pytest.fixture(scope="module")
def load(server: Client, guarded: GuardedServer, endpoints: Endpoints, prometheus: Prometheus | None) -> Load:
    """Send a crowd of jobs, then the same work twice.

    Prometheus has rates only for series that it knows already.
    """
    del prometheus  # Prometheus must be running before the load begins.
    began = time.time()
    before = endpoints.shown()
    crowded, cancelled = crowd(guarded, endpoints)
    after = before
    for _ in range(2):
        work(server)
        after = endpoints.wait_for(lambda shown, earlier=after: has_worked(earlier, shown))
    time.sleep(5)  # The pause lasts for two more scrapes.
    return Load(endpoints, before, crowded, cancelled, after, began, time.time())


def crowd(guarded: GuardedServer, endpoints: Endpoints) -> tuple[Shown, int]:
    """Submit until the queue is full.

    Return the series at that time, and how many jobs were cancelled after it.
    """
    client = guarded.alice
    songs = {"audio_duration": 10, "batch_size": 8, "thinking": True}
    for _ in range(2 * GUARDED_QUEUE):
        if client.http.post("/v1/music/generate", json=songs).status_code == httpx.codes.TOO_MANY_REQUESTS:
            break
    crowded = endpoints.wait_for(lambda shown: all(value(shown, gauge) > 0 for gauge in QUEUE_GAUGES))
    return crowded, client.cancel_all()


def has_worked(before: Shown, after: Shown) -> bool:
    """Return whether every process exports what it counted of `work`."""
    done = {
        (metrics.ENDED, "succeeded"): JOBS,
        (metrics.ENDED, "failed"): 1,
        (metrics.STORE_ERRORS, ""): 1,
        (metrics.LM_TOKENS, ""): JOBS * BATCH * CODES,
        (metrics.DIT_PADDING_FRAMES, ""): JOBS * BATCH * STEPS,
        (metrics.VAE_TILES, ""): JOBS * BATCH * TILES,
    }
    return all(value(after, *what) >= value(before, *what) + count for what, count in done.items())


def work(server: Client) -> None:
    """Make songs, cancel a job, let one fail after a retry, and let the store fail."""
    folder = server.audio_in.parent
    songs = [
        server.submit(
            thinking=True,
            audio_duration=SONG_SECONDS,
            batch_size=BATCH,
            adapters=[{"name": "folk", "scale": 0.5}],
            callback_url="http://nobody.invalid/",
        )
        for _ in range(JOBS)
    ]
    recording = write_recording(server.audio_in / "lost.wav", 1.0)
    lost = server.submit(task_type="cover", src_audio_path=str(recording), batch_size=1)
    shutil.rmtree(folder / "output" / lost)  # The storage has now lost the recording that it accepted.
    server.cancel(server.submit())
    for job_id in songs:
        assert server.wait(job_id)["status"] == "succeeded"
    assert server.wait(lost)["error"] == UNAVAILABLE
    with store_without_writes(folder / "jobs.sqlite3"):
        answer = server.http.post("/v1/music/generate", json={})
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    while (answer := server.http.post("/v1/music/generate", json={})).status_code != httpx.codes.OK:
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        time.sleep(0.2)  # The tracker tries again once a second.
    server.cancel(answer.json()["job_id"])


@contextmanager
def store_without_writes(path: Path) -> Iterator[None]:
    """Lock the SQLite file, so that nobody else can write to it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_the_nodes_show_what_each_part_did_for_a_job(server: Client) -> None:
    endpoints = Endpoints([service_discovery(server.pid)])
    before = endpoints.shown()
    server.make(thinking=True, audio_duration=SONG_SECONDS, batch_size=BATCH)
    done = {
        metrics.ENDED: 1,
        metrics.JOB_SECONDS: 1,
        metrics.SONGS: BATCH,
        metrics.LM_TOKENS: BATCH * CODES,
        metrics.DIT_SONG_STEPS: BATCH * STEPS,
        metrics.VAE_TILES: BATCH * TILES,
    }
    endpoints.wait_for(
        lambda shown: all(
            value(shown, metric) >= value(before, metric) + count for metric, count in done.items()
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "metric", [metric for metric in METRICS if metric not in FAULTS], ids=lambda metric: metric.name
)
def test_the_nodes_show_every_metric_with_a_value_after_a_load(load: Load, metric: Metric) -> None:
    if metric in ALARMS:
        assert load.after[metric.exported, ""] == 0.0
        assert (metric.exported, "") in load.after
    else:
        assert max(value(shown, metric) for shown in (load.crowded, load.after)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", VLLM_METRICS)
def test_the_nodes_show_what_vllm_counts_of_its_prefix_cache(load: Load, name: str) -> None:
    assert load.after[name, ""] > load.before[name, ""]


@pytest.mark.slow
def test_what_is_counted_is_what_was_done(load: Load) -> None:
    jobs, songs = 2 * JOBS, 2 * JOBS * BATCH
    assert load.increase(metrics.ENDED, "succeeded") >= jobs
    assert load.increase(metrics.ENDED, "failed") >= 2
    assert load.increase(metrics.ENDED, "cancelled") >= 2 + load.crowd
    assert load.increase(metrics.FAILED_ATTEMPTS, "unavailable") >= 6
    assert load.increase(metrics.RETRIES) >= 4
    assert load.increase(metrics.REFUSED, "queue_limit") >= 1
    assert load.increase(metrics.STORE_ERRORS) >= 2
    assert load.increase(metrics.CALLBACKS, "failed") >= jobs
    assert load.increase(metrics.SONGS) >= songs
    assert load.increase(metrics.AUDIO_SECONDS) >= songs * SONG_SECONDS - 0.01
    assert load.increase(metrics.JOB_SECONDS) >= jobs
    for stage in ("planning", "composing", "denoising", "decoding", "encoding"):
        assert load.increase(metrics.STAGE_SECONDS, stage) >= jobs
    assert load.increase(metrics.LM_GUIDED_PAIRS) >= songs
    assert load.increase(metrics.LM_TOKENS) >= songs * CODES
    assert load.increase(metrics.DIT_SONG_STEPS) >= songs * STEPS
    assert load.increase(metrics.DIT_PADDING_FRAMES) >= songs * STEPS
    assert load.increase(metrics.VAE_TILES) >= songs * TILES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("used", "room"),
    [
        (metrics.LM_ROWS, metrics.LM_ROW_SLOTS),
        (metrics.DIT_TOKENS, metrics.DIT_TOKEN_SLOTS),
        (metrics.VAE_TILES, metrics.VAE_TILE_SLOTS),
        (metrics.DIT_PADDING_FRAMES, metrics.DIT_FRAMES),
        (metrics.VAE_MARGIN_FRAMES, metrics.VAE_FRAMES),
    ],
)
def test_shares_are_shares(load: Load, used: Metric, room: Metric) -> None:
    assert 0 < load.increase(used) <= load.increase(room)


@pytest.mark.slow
def test_an_empty_queue_is_shown_as_empty(load: Load) -> None:
    shown = load.endpoints.wait_for(
        lambda shown: all(shown.get((gauge.exported, "")) == 0.0 for gauge in QUEUE_GAUGES)
    )
    assert all((gauge.exported, "") in shown for gauge in QUEUE_GAUGES)


def watching(prometheus: Prometheus | None) -> Prometheus:
    if prometheus is None:
        pytest.skip("prometheus and promtool are not installed")
    return prometheus


@pytest.mark.slow
@pytest.mark.parametrize("panel", dashboard_panels(RATE_INTERVAL), ids=lambda panel: panel.title)
def test_every_query_of_the_dashboard_has_an_answer(
    load: Load, prometheus: Prometheus | None, panel: Panel
) -> None:
    for query in panel.queries:
        series = watching(prometheus).range(query.expression, load.began, load.ended, 5)
        numbers = [float(text) for one in series for _, text in one["values"]]
        assert any(map(math.isfinite, numbers)), (query, series)


@pytest.mark.slow
def test_each_generator_counts_under_the_name_of_its_deployment(
    load: Load, prometheus: Prometheus | None
) -> None:
    series = watching(prometheus).range(metrics.DIT_FORWARDS.exported, load.began, load.ended, 5)
    assert {one["metric"]["deployment"] for one in series} == {"Generator", f"Generator-{BASE}"}


@pytest.mark.slow
def test_prometheus_evaluates_every_rule_on_metrics_that_are_there(
    load: Load, prometheus: Prometheus | None
) -> None:
    watched = watching(prometheus)
    rules = watched.alerts()
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] != "ok"] == []
    assert len(rules) == ALERTS.read_text().count("- alert: ")
    for name in {name for rule in rules for name in re.findall(r"\b(?:ray_\w+|up)\b", rule["query"])}:
        assert watched.range(f"count({name})", load.began, load.ended, 5), name


@pytest.mark.parametrize(
    "command",
    [["check", "config", CONFIG], ["check", "rules", ALERTS], ["test", "rules", ALERT_TESTS]],
    ids=["config", "rules", "alerts fire when they should"],
)
def test_promtool_finds_no_fault(command: list[str | Path]) -> None:
    if not is_installed():
        pytest.skip("prometheus and promtool are not installed")
    done = subprocess.run(["promtool", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
