"""A real redis-server on a free loopback port, which loses no write that it has confirmed."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import redis

from tests.ports import free_port


class RedisServer:
    """Starts when it is created. When started again, it continues with what is in its folder.

    Raises FileNotFoundError when redis-server is not installed.
    """

    def __init__(self, folder: Path, appendonly: str = "yes", appendfsync: str = "always") -> None:
        self.folder = folder
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        self.socket_url = f"unix://{folder}/redis.sock"
        options = {
            "unixsocket": folder / "redis.sock",
            "bind": "127.0.0.1",
            "port": port,
            "dir": folder,
            "appendonly": appendonly,
            "appendfsync": appendfsync,
            "save": "",
        }
        words = (str(word) for name, value in options.items() for word in (f"--{name}", value))
        self._command = ["redis-server", *words]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        with redis.Redis.from_url(self.url) as client:
            while True:
                try:
                    client.ping()
                    assert self._process.poll() is None, "another Redis has the port"
                    return
                except redis.ConnectionError:
                    assert time.monotonic() < deadline, "redis-server did not start"
                    time.sleep(0.05)

    def fill(self) -> None:
        """Leave no memory for further writes."""
        with redis.Redis.from_url(self.url) as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 1)

    def give_room(self) -> None:
        """Undo `fill`."""
        with redis.Redis.from_url(self.url) as client:
            client.config_set("maxmemory", 0)

    def kill(self) -> None:
        """Send SIGKILL, as if its machine lost power."""
        self._process.kill()
        self._process.wait()

    def lose(self) -> None:
        """Kill it and delete its data. Started again, it is empty."""
        self.kill()
        shutil.rmtree(self.folder / "appendonlydir")

    def stop(self) -> None:
        """Send SIGSTOP: it keeps its connections and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Undo `stop`."""
        self._process.send_signal(signal.SIGCONT)
