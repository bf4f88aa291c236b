"""`local_server` starts `serve run` again when Ray was too slow, and for no other reason."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from serve_app.local_server import RAY_WAS_SLOW, LocalServer, local_server
from tests.ports import free_port

ANSWERS = """
import http.server

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

http.server.HTTPServer(("127.0.0.1", {port}), Ready).serve_forever()
"""


@pytest.fixture
def config() -> dict[str, Any]:
    return {"http_options": {"host": "127.0.0.1", "port": free_port()}, "applications": [{}]}


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]) -> Path:
    """Put a `serve` in the place of Ray's: at each start it takes the first of the files beside it.

    A file is a Python program. Where none is left the server answers.
    """
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "z").write_text(ANSWERS.format(port=config["http_options"]["port"]))
    command = tmp_path / "serve"
    command.write_text(
        f"""#!{sys.executable}
import pathlib
first = min(pathlib.Path({str(programs)!r}).iterdir())
program = first.read_text()
first.unlink()
exec(program)
"""
    )
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return programs


def ready(server: LocalServer) -> None:
    server.wait_until_ready(lambda _seconds, _waiting_for: None)


def test_a_server_whose_ray_was_too_slow_starts_again(
    serve: Path, config: dict[str, Any], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (serve / name).write_text(f"raise Exception('{RAY_WAS_SLOW}. This could happen because …')")
    with local_server(config, tmp_path / "serve.log") as server:
        first = server.process
        ready(server)
        second = server.process
        assert first.poll() is not None
        assert second.poll() is None
    assert not psutil.pid_exists(second.pid)
    assert (tmp_path / "serve.log").read_text().count(RAY_WAS_SLOW) == 2


@pytest.mark.parametrize("end", ["raise Exception('the config file is wrong')", "raise SystemExit(0)"])
def test_a_server_that_ends_for_another_reason_is_an_error_with_the_log(
    serve: Path, config: dict[str, Any], tmp_path: Path, end: str
) -> None:
    (serve / "a").write_text(f"raise Exception('{RAY_WAS_SLOW}')")
    (serve / "b").write_text(f"print('said before', flush=True)\n{end}")
    with (
        local_server(config, tmp_path / "serve.log") as server,
        pytest.raises(RuntimeError, match=r"the server did not start; end of .*\n(.*\n)*said before"),
    ):
        ready(server)
    assert [left.name for left in serve.iterdir()] == ["z"]


def test_ray_still_says_it_in_these_words() -> None:
    ray = importlib.util.find_spec("ray")
    assert ray is not None
    assert ray.origin is not None
    said = (Path(ray.origin).parent / "_private" / "node.py").read_text()
    assert RAY_WAS_SLOW in said.replace('"\n                        "', "")
