"""The phases of the siege, and what is measured in each.

Two servers run at the same time: the embedded default, which is besieged, and a Serve application that does
nothing, on a Ray of its own. What the second one's answers take longer under siege is the machine's share.
"""

import json
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from acestep_client import AcestepError, Client, Job, Retries, SongFields
from benchmarks.end_to_end.processes import family, role
from benchmarks.end_to_end.servers import administer, embedded_config, idle_config
from benchmarks.end_to_end.statistics import percentile
from benchmarks.helper_process import Helper, helper
from benchmarks.hostile_load.accounting import Account
from benchmarks.hostile_load.probe import Times, probing
from serve_app.local_server import LocalServer, local_server

SONGS, SECONDS = 10, 10
QUIET_SECONDS = 10.0
"""How long the phases without songs last."""
CONNECTED_SECONDS = 120.0
"""How long the strangers may take to connect."""
LIMIT_SECONDS = 180.0
"""How long the songs may take."""
POLL_SECONDS = 0.5
SAMPLE_SECONDS = 1.0
LOSSES = ("attempt_ended", "lease_lost", "lease_not_watched")
"""Events in the logs of the tracker and the runners."""
MIB = 1 << 20
CONTROL, STRANGERS = "control", "strangers"
"""Groups of processes that are not the server's."""
SONG: SongFields = {"audio_duration": SECONDS, "batch_size": 1, "thinking": True}
DOWNLOADED: SongFields = {"audio_duration": 120, "batch_size": 1, "audio_format": "wav"}

IDLE, ALONE, ARRIVAL, BESIEGED, SONGS_BESIEGED = (
    "idle",
    "songs",
    "the strangers connect",
    "under siege",
    "songs under siege",
)


@dataclass(frozen=True)
class Phase:
    """A part of the measurement."""

    name: str
    began: float
    """Seconds of the monotonic clock, like `ended`."""
    ended: float
    songs: int
    """How many songs were made in it."""
    account: Account
    """The share of the machine's cores that each kind of process took in it."""
    memory: dict[str, int]
    """The largest resident set of each kind of process, in bytes."""


@dataclass
class Measurement:
    """All figures of one siege."""

    phases: list[Phase] = field(default_factory=list)
    health: Times = field(default_factory=list)
    """Answers to `/health`."""
    control: Times = field(default_factory=list)
    """Answers of the application that does nothing."""
    answers: dict[str, int] = field(default_factory=dict)
    """How often each kind of the strangers' requests met each status."""
    lost_attempts: int = 0
    """Attempts that ended without a song."""

    def phase(self, name: str) -> Phase:
        (found,) = (phase for phase in self.phases if phase.name == name)
        return found

    def p99(self, times: Times, name: str) -> float:
        """Return the 99th percentile of the times of the answers to requests that began in a phase, ms."""
        return percentile(self.within(times, name), 0.99)

    def within(self, times: Times, name: str) -> list[float]:
        """Return how long the answers to requests took that began in a phase, ms."""
        phase = self.phase(name)
        return [took for began, took in times if phase.began <= began < phase.ended]


def measure() -> Measurement:
    """Besiege a new server."""
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        control = cleanup.enter_context(local_server(idle_config(1), folder / "control.log"))
        server = cleanup.enter_context(local_server(embedded_config(folder), folder / "serve.log"))
        for started in (control, server):
            started.wait_until_ready(lambda _seconds, _waiting_for: None)
        return _Siege(server, control).measured()


class _Siege:
    def __init__(self, server: LocalServer, control: LocalServer) -> None:
        self._server = server
        self._control = control
        self._figures = Measurement()
        self._groups = {"": server.process.pid, CONTROL: control.process.pid}

    def measured(self) -> Measurement:
        with Client(self._server.url) as client:
            (downloaded,) = client.generate(**DOWNLOADED).wait().audio_paths
            with (
                probing(_port(self._server), "/health") as health,
                probing(_port(self._control), "/ready") as control,
            ):
                with self._phase(IDLE):
                    time.sleep(QUIET_SECONDS)
                with self._phase(ALONE) as made:
                    made.append(self._finished([client.generate(**SONG) for _ in range(SONGS)]))
                administer(
                    self._server.process.pid, "pause"
                )  # so that the job which the strangers follow waits until they are there
                jobs = [client.generate(**SONG) for _ in range(SONGS)]
                followed = client.generate(**SONG)
                with _strangers(_port(self._server), followed.id, downloaded) as strangers:
                    self._groups[STRANGERS] = strangers.process.process.pid
                    with self._phase(ARRIVAL):
                        strangers.until_connected()
                    with self._phase(BESIEGED):
                        time.sleep(QUIET_SECONDS)
                    administer(self._server.process.pid, "resume")
                    with self._phase(SONGS_BESIEGED) as made:
                        made.append(self._finished(jobs))
        self._figures.health, self._figures.control = health, control
        self._figures.answers = strangers.answers
        self._figures.lost_attempts = self._lost_attempts()
        return self._figures

    @contextmanager
    def _phase(self, name: str) -> Iterator[list[int]]:
        """Measure meanwhile; the block appends how many songs were made."""
        made: list[int] = []
        before, began = Account.now(self._groups), time.monotonic()
        with _memory(self._server.process.pid) as peaks:
            yield made
        ended, after = time.monotonic(), Account.now(self._groups)
        self._figures.phases.append(Phase(name, began, ended, sum(made), after.since(before), peaks))

    def _finished(self, jobs: Sequence[Job]) -> int:
        """Return how many of the jobs made a song within LIMIT_SECONDS."""
        began = time.monotonic()
        waiting, made = list(jobs), 0
        with Client(self._server.url, retries=Retries(0)) as client:
            while waiting and time.monotonic() - began < LIMIT_SECONDS:
                job = client.job(waiting[0].id)
                with suppress(AcestepError):  # the server is too busy to answer, or refuses to
                    job.refresh()
                if job.has_ended:
                    made += job.status == "succeeded"
                    waiting.pop(0)
                else:
                    time.sleep(POLL_SECONDS)
        return made

    def _lost_attempts(self) -> int:
        """Return how many attempts lost their lease or failed, according to the log."""
        logs = set()
        for process in family(self._server.process.pid):
            with suppress(psutil.Error):
                logs |= {Path(file.path) for file in process.open_files() if "/serve/" in file.path}
        lines = (line for log in logs for line in log.read_text(errors="replace").splitlines())
        return sum(any(event in line for event in LOSSES) for line in lines)


@dataclass
class _Strangers:
    process: Helper
    answers: dict[str, int] = field(default_factory=dict)

    def until_connected(self) -> None:
        """Wait until all event streams are open, at most CONNECTED_SECONDS."""
        self.process.line(CONNECTED_SECONDS)


@contextmanager
def _strangers(port: int, followed_job: str, song_path: str) -> Iterator[_Strangers]:
    """Let a process of strangers in; what they were answered is there after the block."""
    with helper("benchmarks.hostile_load.strangers", str(port), followed_job, song_path) as process:
        strangers = _Strangers(process)
        yield strangers
    strangers.answers |= json.loads(process.told.splitlines()[-1])


@contextmanager
def _memory(pid: int) -> Iterator[dict[str, int]]:
    """Watch the largest resident set of each kind of process meanwhile, in bytes."""
    peaks: dict[str, int] = {}
    over = threading.Event()

    def watch() -> None:
        while True:
            for process in family(pid):
                with suppress(psutil.Error):
                    name = role(process)
                    peaks[name] = max(peaks.get(name, 0), process.memory_info().rss)
            if over.wait(SAMPLE_SECONDS):
                return

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        try:
            yield peaks
        finally:
            over.set()
        watching.result()


def _port(server: LocalServer) -> int:
    return int(server.url.rpartition(":")[2])
