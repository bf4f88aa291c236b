"""`make run`: start the application with its own Ray instance, make one song over HTTP, keep serving."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import yaml
from tqdm import tqdm

from acestep_client import AcestepError, Client, SongFields
from acestep_client.shell.following import Following
from configs.settings import Settings
from serve_app import gpu_host
from serve_app.local_server import LocalServer, local_server

LOG_FILE = Path("serve.log")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXAMPLE: SongFields = {
    "caption": "upbeat pop song with bright synths and a steady beat",
    "lyrics": "[Verse]\nHello world, we are singing\n[Chorus]\nHello, hello world",
    "thinking": True,
    "audio_duration": 10,
    "batch_size": 1,
}
STUDIO = """
Make music in your browser:
  {url}/
"""
NEXT_STEPS = """Or ask for a song from a shell:
  {acestep} --url {url} make "slow piano ballad" --seconds 20 -o ballad.mp3
The API's documentation is at {url}/docs, the server's log in {log}. Stop with Ctrl-C."""


def main() -> int:
    """Run the command. The exit code is 0 if the song was made."""
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("serve_config.yaml"), help="Serve config file")
    parser.add_argument("--models", type=Path, help="folder with the checkpoints that the config names")
    parser.add_argument("--once", action="store_true", help="stop after the song")
    options = parser.parse_args()
    for number in STOP_SIGNALS:
        signal.signal(number, _interrupt)
    try:
        with local_server(_load(options.config, options.models), LOG_FILE) as server:
            _serve(server, options.once)
    except KeyboardInterrupt:
        return 130
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _load(path: Path, models: Path | None) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    arguments = config["applications"][0].setdefault("args", {})
    if models is not None:
        arguments.setdefault("models", {}).update(source="folder", folder=str(models.resolve()))
    settings = Settings(**arguments)
    if settings.uses_gpu and (problems := gpu_host.problems()):
        raise RuntimeError("\n".join(["this machine cannot run the GPU build:", *problems]))
    if settings.models.source == "embedded":
        print("The embedded model is a miniature: it shows what the server does, not what ACE-Step can do.")
    return config


def _serve(server: LocalServer, once: bool) -> None:
    with tqdm(bar_format="{desc}", file=sys.stdout) as line:
        seconds = server.wait_until_ready(
            lambda seconds, waiting_for: line.set_description_str(f"{seconds:4.0f} s  {waiting_for}")
        )
        line.set_description_str(f"ready after {seconds:.0f} s")
    with Client(server.url) as client:
        song = _make_song(client)
    print(f"\nYour song: {song.resolve()}")
    if once:
        return
    if httpx.head(f"{server.url}/", timeout=90).is_success:
        print(STUDIO.format(url=server.url))
    print(NEXT_STEPS.format(acestep=_acestep(), url=server.url, log=LOG_FILE))
    try:
        server.process.wait()
    except KeyboardInterrupt:
        print("\nstopping …")
        return
    raise RuntimeError(f"the server ended by itself; its log is {LOG_FILE}")


def _make_song(client: Client) -> Path:
    try:
        job = client.generate(**EXAMPLE)
        with Following() as show:
            job.wait(show)
        (song,) = job.songs
        return song.save(Path("song").with_suffix(Path(song.path).suffix))
    except AcestepError as error:
        raise RuntimeError(f"the example song was not made: {error}") from error


def _acestep() -> Path:
    """The client's command line, as one writes it in this folder."""
    command = Path(sys.executable).with_name("acestep")
    return command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # Stopping takes seconds, and a second interrupt would leave processes behind.
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
