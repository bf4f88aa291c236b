"""`make run ONCE=1`: a song from one command, and nothing left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest
import soundfile
import yaml

from tests.live_server import embedded_config
from tests.ports import free_port


def processes_with(mark: str) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("RUN_MARK") == mark:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def test_one_command_makes_a_song_and_leaves_no_process(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(embedded_config(free_port(), tmp_path)))
    mark = uuid.uuid4().hex
    shown = subprocess.run(
        [sys.executable, "-m", "serve_app.run", "--config", config, "--once"],
        cwd=tmp_path,
        env={**os.environ, "RUN_MARK": mark},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr + (tmp_path / "serve.log").read_text()
    song = soundfile.info(tmp_path / "song.mp3")
    assert (song.samplerate, song.channels, song.frames) == (48_000, 2, 480_000)
    assert "ready after" in shown.stdout
    assert str(tmp_path / "song.mp3") in shown.stdout
    assert processes_with(mark) == []


def test_a_taken_port_is_said_at_once(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        config.write_text(yaml.safe_dump(embedded_config(port, tmp_path)))
        shown = subprocess.run(
            [sys.executable, "-m", "serve_app.run", "--config", config, "--once"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert shown.returncode == 1
    assert f"something already listens on 127.0.0.1:{port}" in shown.stderr


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=lambda stop: stop.name)
def test_a_signal_while_it_starts_leaves_no_process(tmp_path: Path, stop: signal.Signals) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(embedded_config(free_port(), tmp_path)))
    mark = uuid.uuid4().hex
    # A shell's background job: it starts with interrupts ignored.
    command = [
        "bash",
        "-c",
        'exec "$@" & wait',
        "bash",
        sys.executable,
        "-m",
        "serve_app.run",
        "--config",
        config,
    ]
    shell = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "RUN_MARK": mark})
    log = tmp_path / "serve.log"
    deadline = time.monotonic() + 120
    while not log.exists() or b"Deploying" not in log.read_bytes():
        assert time.monotonic() < deadline, "the server does not deploy"
        time.sleep(0.2)
    (run,) = psutil.Process(shell.pid).children()
    run.send_signal(stop)
    shell.wait(90)
    assert processes_with(mark) == []
