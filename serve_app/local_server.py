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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from serve_app.ray_access import private_ray

START_TIMEOUT_SECONDS = 900
STOP_TIMEOUT_SECONDS = 60
ORPHANS_TIMEOUT_SECONDS = 20


@dataclass(frozen=True)
class LocalServer:
    """A running server."""

    url: str
    """Where the application answers, without a slash at the end."""
    process: subprocess.Popen[bytes]
    log_file: Path

    def wait_until_ready(self, announce: Callable[[float, str], None]) -> float:
        """Wait until a default request can be served; the seconds that it took.

        `announce(seconds, waiting_for)` is called twice a second. Raises RuntimeError with the end of the log
        where the server ends or is not ready in time.
        """
        started = time.monotonic()
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while True:
                seconds = time.monotonic() - started
                if self.process.poll() is not None or seconds > START_TIMEOUT_SECONDS:
                    tail = self.log_file.read_text(errors="replace").splitlines()[-20:]
                    raise RuntimeError(
                        "\n".join([f"the server did not start; end of {self.log_file}:", *tail])
                    )
                waiting_for = _waiting_for(client)
                if not waiting_for:
                    return seconds
                announce(seconds, waiting_for)
                time.sleep(0.5)


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
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file, log_file.open("wb") as log:
        yaml.safe_dump(config, file)
        file.flush()
        process = subprocess.Popen(
            [Path(sys.executable).with_name("serve"), "run", "--address", ray_address, file.name],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=private_ray() if ray_address == "local" else dict(os.environ),
            start_new_session=True,  # so Ctrl-C reaches the child only through `_stop`
            preexec_fn=_take_interrupts,
        )
        try:
            prefix = config["applications"][0].get("route_prefix", "/").rstrip("/")
            yield LocalServer(f"http://{host}:{port}{prefix}", process, log_file)
        finally:
            _stop(process)


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


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # Ray's processes end by themselves a few seconds after their node.
    _, left = psutil.wait_procs(family, timeout=ORPHANS_TIMEOUT_SECONDS)
    for orphan in left:
        orphan.kill()


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
