import stat
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.edge import middlewares
from serve_app.ray_access import (
    EDGE_VARIABLE,
    LOOPBACK,
    LOOPBACK_VARIABLE,
    keep_token,
    prepare_to_join,
    private_ray,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_ray_of_our_own_asks_for_a_token_that_only_its_owner_can_read(home: Path) -> None:
    assert private_ray()["RAY_AUTH_MODE"] == "token"
    assert private_ray()[EDGE_VARIABLE] == f"{middlewares.__module__}:{middlewares.__name__}"
    file = home / ".ray" / "auth_token"
    assert len(file.read_text()) == 64
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["auth_token"]


def test_a_token_that_is_there_stays_and_is_closed_to_others(tmp_path: Path) -> None:
    file = tmp_path / "auth_token"
    file.write_text("made by Ray")
    file.chmod(0o644)
    keep_token(file)
    assert file.read_text() == "made by Ray"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_two_tokens_differ(tmp_path: Path) -> None:
    for name in ("a", "b"):
        keep_token(tmp_path / name)
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()


@pytest.mark.parametrize(
    ("name", "value"),
    [("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "mine"), ("RAY_AUTH_TOKEN_PATH", "/etc/ray/token")],
)
def test_what_the_operator_says_about_access_stays(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert private_ray()[name] == value
    assert not (home / ".ray").exists()


@pytest.mark.parametrize(
    ("environment", "node", "added"),
    [
        ({}, None, {}),
        ({}, "10.0.0.5", {}),
        ({}, LOOPBACK, {LOOPBACK_VARIABLE: "0"}),
        ({LOOPBACK_VARIABLE: "1"}, LOOPBACK, {}),
        ({"RAY_AUTH_TOKEN": "mine"}, None, {"RAY_AUTH_MODE": "token"}),
        ({"RAY_AUTH_TOKEN": "mine", "RAY_AUTH_MODE": "disabled"}, None, {}),
    ],
)
def test_a_running_ray_is_joined_as_it_was_started(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    node: str | None,
    added: dict[str, str],
) -> None:
    found = environment | {"HOME": str(home)}
    monkeypatch.setattr("os.environ", found)
    prepare_to_join(node)
    assert found == environment | added | {"HOME": str(home)}


def test_the_token_that_this_user_keeps_is_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_token(home / ".ray" / "auth_token")
    found = {"HOME": str(home)}
    monkeypatch.setattr("os.environ", found)
    prepare_to_join(None)
    assert found["RAY_AUTH_MODE"] == "token"


def test_a_command_reads_its_config_file_before_it_imports_ray() -> None:
    """Ray reads its environment when it is imported, so `prepare_to_join` would come too late."""
    program = """
import sys
from pathlib import Path
from serve_app.admin import commands, running_tracker
from serve_app.admin.config_files import read_application
read_application(Path("serve_config.yaml"))
sys.exit("ray" in sys.modules)
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True)
