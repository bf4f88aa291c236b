"""The command line: help, wrong usage, exit codes."""

import re
from pathlib import Path

import pytest
import typer

from configs.settings import PROJECT_ROOT
from serve_app.admin import main
from serve_app.admin.parser import duration
from serve_app.admin.tables import age, size, table
from serve_app.ray_access import LOOPBACK

COMMANDS = (
    "drain",
    "pause",
    "resume",
    "list",
    "cancel",
    "requeue",
    "unreadable",
    "purge",
    "stop-tracker",
    "trace",
    "verify",
    "memory",
    "usage",
    "make-key",
    "webhook-secret",
    "make-certificate",
)


def shown_help(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_help_names_every_command_and_what_the_exit_codes_mean(capsys: pytest.CaptureFixture[str]) -> None:
    shown = shown_help(capsys)
    for command in COMMANDS:
        assert re.search(rf"^ +{command} ", shown, re.MULTILINE)
    assert "exit code: 0 done" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = shown_help(capsys, command)
    description = shown.split("\n\n")[1]
    assert len(description) > 30
    assert "%" not in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["verfy"],
        [],
        ["list", "--limit", "0"],
        ["list", "--state", "lost"],
        ["drain", "--timeout", "soon"],
        ["cancel"],
        ["memory", "serve_config.yaml", "--gpu", "large"],
        ["purge", "--all"],
        ["purge", "--all", "--yes", "--dry-run"],
        ["purge", "--older-than", "a month", "--yes"],
        ["purge", "--state", "queued", "--yes"],
        ["trace", "job", "another job"],
        ["requeue", "job", "--timeout", "1"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_a_config_file_that_is_not_there_or_not_ours_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, other = tmp_path / "missing.yaml", tmp_path / "other.yaml"
    other.write_text("applications: [{name: acestep, args: {colour: blue}}]")
    assert main(["list", "--config", str(missing)]) == 1
    assert "No such file" in capsys.readouterr().err
    assert main(["list", "--config", str(other)]) == 1
    assert "colour" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("45m", 2700.0), ("1.5h", 5400.0), ("30d", 2_592_000.0)]
)
def test_times(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "h", "-1h", "1h30m", "1 h"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="12h"):
        duration(text)


def test_tables_are_aligned() -> None:
    shown = table({"JOB": "<", "AGE": ">"}, [("a", "12s"), ("longer", "3h")])
    assert shown.splitlines() == ["JOB     AGE", "a       12s", "longer   3h"]
    assert table({"JOB": "<", "AGE": ">"}, []) == "JOB  AGE"


def test_ages_and_sizes_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_000_000.0)
    ages = {seconds: age(1_000_000.0 - seconds) for seconds in (-5, 12, 300, 7200, 864_000)}
    assert ages == {-5: "0s", 12: "12s", 300: "5m", 7200: "2h", 864_000: "10d"}
    sizes = [size(count) for count in (0, 999, 1500, 3_200_000, 2_000_000_000_000)]
    assert sizes == ["0 B", "999 B", "1.5 kB", "3.2 MB", "2.0 TB"]


@pytest.mark.parametrize(
    ("rays", "said"),
    [
        ({}, "no Ray runs on this machine"),
        (
            {"127.0.0.1:1": LOOPBACK, "127.0.0.1:2": LOOPBACK},
            "name one by --address: 127.0.0.1:1, 127.0.0.1:2",
        ),
    ],
)
def test_without_an_address_there_must_be_one_ray_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rays: dict[str, str], said: str
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("serve_app.admin.running_tracker.rays_here", lambda: rays)
    assert main(["list", "--config", str(PROJECT_ROOT / "serve_config.yaml")]) == 1
    assert said in capsys.readouterr().err
