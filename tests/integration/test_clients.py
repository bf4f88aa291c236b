"""Clients of ACE-Step's own server, written from its API alone, in three languages (tests/clients)."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from configs.settings import PROJECT_ROOT
from tests.live_server import Client

CLIENTS = PROJECT_ROOT / "tests" / "clients"
COMMANDS = {"song.sh": "bash", "song.py": sys.executable, "song.mjs": "node"}
SONGS = {"json.wav", "form.flac", "cover.wav", "chat.wav", "stream.wav"}


@pytest.mark.parametrize(
    "script", ["song.sh", *(pytest.param(name, marks=pytest.mark.slow) for name in ("song.py", "song.mjs"))]
)
def test_a_client_that_knows_only_the_base_url(server: Client, tmp_path: Path, script: str) -> None:
    """It submits JSON, a form and a recording, polls, downloads, and chats, plain and streamed."""
    program = shutil.which(COMMANDS[script])
    if program is None or (script == "song.sh" and shutil.which("curl") is None):
        pytest.skip(f"{script} needs programs that this machine lacks")
    url = str(server.http.base_url).rstrip("/")
    ran = subprocess.run(
        [program, CLIENTS / script, url, tmp_path], capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    seconds = {file.name: soundfile.info(file).duration for file in tmp_path.iterdir() if file.name in SONGS}
    assert seconds == dict.fromkeys(SONGS, pytest.approx(1.0, abs=0.01))
