"""The command line `acestep`: what it sends, prints and writes, and its exit codes."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from acestep_client import Client, Retries
from acestep_client.answers import JobSnapshot
from acestep_client.shell import main
from acestep_client.shell.exits import MEANINGS
from acestep_client.shell.following import Following
from tests.unit.client.answers import (
    FAILED,
    QUEUED,
    RESULT,
    RUNNING,
    SONGS,
    SUBMITTED,
    SUCCEEDED,
    Answers,
    refused,
)

ONE_SONG = {**SUCCEEDED, "result": {**RESULT, "audio_paths": SONGS[:1], "second_audio_path": None}}
COMMANDS = ("make", "repaint", "cover", "understand", "jobs", "show", "save", "cancel", "models", "usage")

Serve = Callable[..., Answers]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Serve:
    """Return a function that lets the commands speak to a server with these answers."""
    monkeypatch.chdir(tmp_path)

    def serve(*answers: Any) -> Answers:
        server = Answers(*answers)

        def client(url: str | None = None, api_key: str | None = None, *, retries: Retries) -> Client:
            return Client(url, api_key, retries=retries, transport=httpx.MockTransport(server))

        monkeypatch.setattr("acestep_client.shell.server.Client", client)
        return server

    return serve


def file(content: bytes) -> httpx.Response:
    return httpx.Response(200, content=content)


def test_a_song_is_made_and_saved_and_its_stages_are_told(
    serve: Serve, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    server = serve(SUBMITTED, QUEUED, RUNNING, RUNNING, ONE_SONG, file(b"song"))
    Path("words.txt").write_text("[Verse]\nHello")
    code = main(
        [
            "make",
            "a pop song",
            "--lyrics",
            "words.txt",
            "--seconds",
            "30",
            "--set",
            "bpm=120",
            "-o",
            "song.flac",
        ]
    )
    assert code == 0
    assert json.loads(server.requests[0].content) == {
        "caption": "a pop song",
        "lyrics": "[Verse]\nHello",
        "audio_duration": 30,
        "batch_size": 1,
        "audio_format": "flac",
        "bpm": 120,
    }
    told = capsys.readouterr()
    assert told.out == "song.flac\n"
    assert told.err.splitlines() == ["waiting, position 1, 9 s left", "denoising, 9 s left", "succeeded"]
    assert (tmp_path / "song.flac").read_bytes() == b"song"


@pytest.mark.parametrize(
    ("options", "files"),
    [
        (["-o", "x.mp3"], ["x-0.mp3", "x-1.mp3"]),
        (["-o", "new/"], ["new/job-1-0.mp3", "new/job-1-1.mp3"]),
        ([], ["job-1-0.mp3", "job-1-1.mp3"]),
    ],
)
def test_several_songs_have_names_of_their_own(
    serve: Serve, capsys: pytest.CaptureFixture[str], options: list[str], files: list[str]
) -> None:
    serve(SUBMITTED, SUCCEEDED, file(b"one"), file(b"two"))
    assert main(["make", "a song", "-n", "2", *options]) == 0
    assert capsys.readouterr().out.split() == files
    assert [Path(name).read_bytes() for name in files] == [b"one", b"two"]


def test_what_the_server_notes_about_a_song_is_told(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    noted = {
        **RESULT,
        "audio_paths": [],
        "status_message": "✅ Generation completed successfully! The field x had no effect. Nor had y.",
    }
    serve(SUBMITTED, {**SUCCEEDED, "result": noted})
    assert main(["make", "a song"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "note: The field x had no effect. Nor had y."


def test_a_song_can_go_to_standard_output(serve: Serve, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    serve(SUBMITTED, ONE_SONG, file(b"ID3\x00song"))
    assert main(["make", "a song", "-o", "-"]) == 0
    assert capfdbinary.readouterr().out == b"ID3\x00song"


def test_json_is_the_poll_and_the_files(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    serve(SUBMITTED, RUNNING, ONE_SONG, file(b"song"))
    assert main(["make", "a song", "-o", "x.mp3", "--json"]) == 0
    told = capsys.readouterr()
    answer = json.loads(told.out)
    assert (answer["status"], answer["result"]["bpm"], answer["files"]) == ("succeeded", 90, ["x.mp3"])
    assert told.err == ""


@pytest.mark.parametrize("command", [["make", "a song"], ["show", "job-1", "--wait"]], ids=["make", "show"])
def test_json_says_how_a_job_failed(
    serve: Serve, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    serve(*([SUBMITTED] if command[0] == "make" else []), FAILED)
    assert main([*command, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"] == "The model ran out of memory"


def test_a_detached_job_is_named_and_can_be_followed_and_saved_later(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(SUBMITTED, RUNNING, ONE_SONG, ONE_SONG, file(b"song"))
    assert main(["make", "a song", "--detach"]) == 0
    assert capsys.readouterr().out == "job-1\n"
    assert main(["show", "job-1", "--wait"]) == 0
    shown = capsys.readouterr().out
    assert "a <b>song</b>" in shown
    assert "/v1/audio/job-1/0.mp3\n" in shown
    assert "secret" not in shown
    assert main(["save", "job-1", "-o", "later.mp3"]) == 0
    assert Path("later.mp3").read_bytes() == b"song"


def test_recordings_are_edited(serve: Serve) -> None:
    server = serve(*[SUBMITTED] * 4)
    Path("take.wav").write_bytes(b"RIFF")
    assert main(["repaint", "take.wav", "softer", "--from", "2.5", "--to", "5", "--detach"]) == 0
    assert main(["cover", "/v1/audio/job-0/0.mp3", "louder", "--strength", "0.5", "--detach"]) == 0
    assert main(["understand", "take.wav", "--detach"]) == 0
    repainted, covered, understood = (request.content for request in server.requests)
    assert b'name="repainting_start"\r\n\r\n2.5\r\n' in repainted
    assert json.loads(covered)["src_audio_path"] == "/v1/audio/job-0/0.mp3"
    assert json.loads(covered)["audio_cover_strength"] == 0.5
    assert b"RIFF" in understood


def test_an_interrupt_cancels_the_job(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    server = serve(SUBMITTED, RUNNING, KeyboardInterrupt(), {**RUNNING, "status": "cancelled"})
    assert main(["make", "a song"]) == 130
    assert server.requests[-1].method == "DELETE"
    assert "job-1 has been cancelled" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        ([SUBMITTED, FAILED], 1, "ran out of memory"),
        (
            [lambda _: refused(422, [{"loc": ["body", "bpm"], "msg": "too fast", "type": "x"}])],
            2,
            "bpm: too fast",
        ),
        ([httpx.ConnectError("refused")], 3, "cannot be reached"),
        ([lambda _: refused(401, "Unknown key")], 4, "Unknown key"),
        ([lambda _: refused(409, "Another request")], 5, "Another request"),
        ([lambda _: refused(429, "The queue is full")], 6, "The queue is full"),
        ([lambda _: refused(503, "Away")], 6, "Away"),
        ([SUBMITTED, RUNNING], 7, "acestep show job-1 --wait"),
    ],
)
def test_each_kind_of_error_has_its_exit_code(
    serve: Serve, capsys: pytest.CaptureFixture[str], answers: list[Any], code: int, said: str
) -> None:
    serve(*answers)
    timeout = ["--timeout", "0"] if code == 7 else []
    assert main(["--patience", "0", "make", "a song", *timeout]) == code
    assert said in capsys.readouterr().err
    assert code in MEANINGS


def test_repetitions_are_told(
    serve: Serve, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acestep_client.driver.sleep", lambda _seconds: None)
    serve(lambda _: refused(429, "The queue is full", retry_after="5"), SUBMITTED)
    assert main(["make", "a song", "--detach"]) == 0
    assert capsys.readouterr().err == "The queue is full; trying again in 5.0 s\n"


def test_jobs_are_listed(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    serve({"jobs": [QUEUED, ONE_SONG], "next_cursor": None}, {"jobs": [QUEUED], "next_cursor": None})
    assert main(["jobs", "--status", "queued"]) == 0
    heads, queued, done = capsys.readouterr().out.splitlines()
    assert heads.split() == ["JOB", "STATUS", "DOING", "PROGRESS", "AGE", "CAPTION"]
    assert queued.split()[:5] == ["job-1", "queued", "waiting,", "position", "1"]
    assert "100%" in done
    assert main(["jobs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [QUEUED]


def test_cancelling_goes_on_after_an_error(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    cancelled = {**RUNNING, "status": "cancelled"}
    serve(lambda _: refused(404, "Job not found"), cancelled, {"job_id": "job-1", "complete": True})
    assert main(["cancel", "gone", "job-1"]) == 5
    told = capsys.readouterr()
    assert (told.out, told.err) == ("job-1: cancelled\n", "error: Job not found\n")
    assert main(["cancel", "job-1", "--purge"]) == 0
    assert capsys.readouterr().out == "job-1: purged\n"


USED = {
    "jobs": {"succeeded": 3, "failed": 0, "cancelled": 1},
    "audio_seconds": 61.5,
    "codes": 300,
    "engine_seconds": {"language_model": 4.1, "generator": 3.2, "codec": 2.75},
}
USAGE = {
    "from": "2026-11-01",
    "to": "2026-11-30",
    "days": [{"day": "2026-11-29", **USED}],
    "total": USED,
    "budget": {"audio_seconds_per_day": 3600.0, "left": 3538.5, "resets_at": 1764547200.0},
}


def test_usage_is_a_table_or_what_the_server_said(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    server = serve(USAGE, USAGE)
    assert main(["usage", "--from", "2026-11-01"]) == 0
    _, day, total, _, budget = capsys.readouterr().out.splitlines()
    assert day.split() == ["2026-11-29", "3", "0", "1", "61.5", "300", "4.1", "3.2", "2.8"]
    assert total.split()[:2] == ["total", "3"]
    assert budget == "Budget: 3538.5 of 3600 s of music are left today"
    assert dict(server.requests[0].url.params) == {"from": "2026-11-01"}
    assert main(["usage", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == USAGE


def test_help_says_what_each_command_does_and_what_the_exit_codes_mean(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for command in COMMANDS:
        assert f" {command} " in shown
    for code, meaning in MEANINGS.items():
        assert f"{code} {meaning}" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["mke"],
        ["make", "--seconds", "long"],
        ["make", "-o", "song.doc"],
        ["make", "--set", "bpm"],
        ["make", "--lyrics", "missing.txt"],
        ["cover", "missing.wav"],
        ["jobs", "--status", "lost"],
        ["--url", "music.example", "jobs"],
        ["cancel"],
    ],
)
def test_wrong_usage_is_told_without_a_request(
    serve: Serve, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    server = serve()
    assert main(arguments) == 2
    assert server.requests == []
    assert capsys.readouterr().err


def test_the_bar_shows_place_stage_and_time() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Following(console=console) as show:
        for job in (QUEUED, {**RUNNING, "eta_seconds": 75.0}):
            show(JobSnapshot.model_validate(job))
            show._bar.refresh()
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "waiting, position 1" in shown
    assert "9 s left" in shown
    assert "denoising" in shown
    assert "50%" in shown
    assert "1:15 left" in shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_ids(
    serve: Serve, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    serve({"jobs": [QUEUED], "next_cursor": None})
    monkeypatch.setenv("_ACESTEP_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", "acestep show jo")
    monkeypatch.setenv("COMP_CWORD", "2")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "acestep show jo")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    assert main([]) == 0
    assert "job-1" in capsys.readouterr().out
