"""The application as a child process with its own Ray instance, for `make run`, tests and benchmarks.

The child process is `serve run` with a config file, as an operator would start it.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from serve_app.ray_access import private_ray

START_TIMEOUT_SECONDS = 900
STOP_TIMEOUT_SECONDS = 60
ORPHANS_TIMEOUT_SECONDS = 20
RAY_WAS_SLOW = "The current node timed out during startup"
"""Ray's error when its own processes did not start in time. The shortest of its limits, 15 seconds for an
agent, is written in its code, and a busy machine exceeds it."""


class LocalServer:
    """A running server."""

    def __init__(self, url: str, command: list[str | Path], environment: dict[str, str], log: Path) -> None:
        self.url = url
        """Where the application answers, without a slash at the end."""
        self.log_file = log
        self._command = command
        self._environment = environment
        log.write_text("")
        self.process = self._start()

    def wait_until_ready(self, announce: Callable[[float, str], None]) -> float:
        """Wait until a default request can be served; the seconds that it took.

        `announce(seconds, waiting_for)` is called twice a second. A server whose Ray was too slow to start
        is started again. Raises RuntimeError with the end of the log where the server ends for another
        reason or is not ready in time.
        """
        started = time.monotonic()
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while True:
                seconds = time.monotonic() - started
                ended = self.process.poll() is not None
                if seconds > START_TIMEOUT_SECONDS or (ended and RAY_WAS_SLOW not in self._log()):
                    tail = self._log().splitlines()[-20:]
                    raise RuntimeError(
                        "\n".join([f"the server did not start; end of {self.log_file}:", *tail])
                    )
                if ended:
                    self.process = self._start()
                waiting_for = _waiting_for(client)
                if not waiting_for:
                    return seconds
                announce(seconds, waiting_for)
                time.sleep(0.5)

    def stop(self) -> None:
        """Stop the server with all of its child processes."""
        if self.process.poll() is not None:
            return
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        # Ray's processes end by themselves a few seconds after their node.
        _, left = psutil.wait_procs(family, timeout=ORPHANS_TIMEOUT_SECONDS)
        for orphan in left:
            orphan.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        self._log_begins = self.log_file.stat().st_size
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,  # so Ctrl-C reaches the child only through `stop`
                preexec_fn=_take_interrupts,
            )

    def _log(self) -> str:
        """Return what was logged since the last start."""
        with self.log_file.open(errors="replace") as log:
            log.seek(self._log_begins)
            return log.read()


@contextmanager
def local_server(config: dict[str, Any], log_file: Path, ray_address: str = "local") -> Iterator[LocalServer]:
    """Start `serve run` with a parsed config file, and stop it with all of its child processes.

    `ray_address` is the address of a running Ray cluster; "local" starts one that only this user can reach.
    Raises RuntimeError where the config's port is taken.
    """
    host, port = config["http_options"]["host"], config["http_options"]["port"]
    with socket.socket() as probe:
        if probe.connect_ex((host, port)) == 0:
            raise RuntimeError(f"something already listens on {host}:{port}; stop it first")
    prefix = config["applications"][0].get("route_prefix", "/").rstrip("/")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(config, file)
        file.flush()
        server = LocalServer(
            f"http://{host}:{port}{prefix}",
            [Path(sys.executable).with_name("serve"), "run", "--address", ray_address, file.name],
            private_ray() if ray_address == "local" else dict(os.environ),
            log_file,
        )
        try:
            yield server
        finally:
            server.stop()


def ray_address(pid: int) -> str:
    """The address of the Ray cluster that the `serve run` with this process id has started."""
    option = "--gcs-address="
    children = psutil.Process(pid).children(recursive=True)
    (address, *_) = [
        word.removeprefix(option) for child in children for word in child.cmdline() if word.startswith(option)
    ]
    return address


def _take_interrupts() -> None:
    # A background job of a shell ignores SIGINT, and the child, which is stopped by SIGINT, would inherit
    # that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _waiting_for(client: httpx.Client) -> str:
    """The reason why the server is not ready; empty when it is."""
    try:
        answer = client.get("/ready")
    except httpx.TransportError:
        return "starting Ray"
    if answer.status_code == httpx.codes.OK:
        return ""
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError):
        return "Not ready: Ingress"  # the proxy answers before the application does
