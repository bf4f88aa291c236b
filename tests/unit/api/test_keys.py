"""API keys from the file and the environment. Only a complete key gives access."""

import json
import logging
from pathlib import Path

import pytest
import yaml

from serve_app.admin import main
from serve_app.api.access.keys import KEYS_VARIABLE, ApiKey, KeyRing, digest_of, load_keys, new_key

ALICE, BOB = "acestep-alice", "acestep-bob"


def entry(name: str, key: str, **others: object) -> dict[str, object]:
    return {"name": name, "sha256": digest_of(key), **others}


def write(file: Path, entries: object, mode: int = 0o600) -> Path:
    file.write_text(yaml.safe_dump(entries))
    file.chmod(mode)
    return file


def test_without_keys_the_server_is_open() -> None:
    assert load_keys(None, {}) is None


def test_keys_of_the_file_and_of_the_environment_count_together(tmp_path: Path) -> None:
    file = write(tmp_path / "keys.yaml", [entry("alice", ALICE, weight=2, max_priority=3)])
    ring = load_keys(file, {KEYS_VARIABLE: json.dumps([entry("bob", BOB)])})
    assert ring is not None
    assert ring.find(ALICE) == ApiKey(name="alice", sha256=digest_of(ALICE), weight=2, max_priority=3)
    assert ring.find(BOB) == ApiKey(name="bob", sha256=digest_of(BOB), weight=1, max_priority=0)


def test_a_name_may_have_two_keys_while_one_takes_the_place_of_the_other(tmp_path: Path) -> None:
    entries = [entry("alice", ALICE, weight=2), entry("alice", BOB, weight=2)]
    ring = load_keys(write(tmp_path / "keys.yaml", entries), {})
    assert ring is not None
    assert [ring.find(key).name for key in (ALICE, BOB)] == ["alice", "alice"]


@pytest.mark.parametrize(
    "presented", ["", "acestep-", ALICE[:-1], ALICE + " ", ALICE.upper(), digest_of(ALICE)]
)
def test_what_is_not_a_whole_key_finds_nothing(presented: str) -> None:
    assert KeyRing([ApiKey.model_validate(entry("alice", ALICE))]).find(presented) is None


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([], "no API key"),
        ("alice", "should be a list"),
        ([{"name": "alice"}], "0.sha256"),
        ([entry("alice", ALICE, weight=0)], "0.weight"),
        ([entry("alice", ALICE, max_priority=10)], "0.max_priority"),
        ([entry("alice", ALICE, admin=True)], "0.admin"),
        ([entry("10.0.0.1", ALICE)], "0.name"),
        ([entry("fe80::1", ALICE)], "0.name"),
        ([{"name": "alice", "sha256": "not a digest"}], "0.sha256"),
        ([entry("alice", ALICE), entry("alice", BOB), entry("alice", "a third")], "at most 2 may share"),
        ([entry("alice", ALICE), entry("alice", BOB, weight=2)], "alice need the same weight"),
        ([entry("alice", ALICE), entry("alice", BOB, max_priority=1)], "the same max_priority"),
        ([entry("alice", ALICE), entry("bob", ALICE)], "digests"),
        ([{"name": "alice", "sha256": "2024-13-45"}], "0.sha256"),
    ],
)
def test_a_wrong_file_is_refused_and_said_why(tmp_path: Path, entries: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        load_keys(write(tmp_path / "keys.yaml", entries), {})


def test_keys_that_cannot_be_read_do_not_open_the_server(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        load_keys(tmp_path / "nothing.yaml", {})
    with pytest.raises(ValueError, match="not YAML"):
        load_keys(None, {KEYS_VARIABLE: "[{"})
    with pytest.raises(ValueError, match="should be a list"):
        load_keys(None, {KEYS_VARIABLE: ""})


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"[" * 5_000, b"- {name: a, sha256: 2024-13-45}", b"a: &a [*a]", b"\x00"]
)
def test_a_file_of_whatever_bytes_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "keys.yaml"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=str(file)):
        load_keys(file, {})


def test_no_error_quotes_what_a_key_file_holds(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sha256") as refused:
        load_keys(write(tmp_path / "keys.yaml", [{"name": "alice", "sha256": "a key by mistake"}]), {})
    assert "by mistake" not in str(refused.value)


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o644, True), (0o640, True)])
def test_a_file_that_others_can_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warns: bool
) -> None:
    load_keys(write(tmp_path / "keys.yaml", [entry("alice", ALICE)], mode), {})
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert bool(warnings) == warns


def test_made_keys_are_long_and_differ() -> None:
    keys = {new_key() for _ in range(50)}
    assert len(keys) == 50
    assert all(len(key) >= 50 for key in keys)


def test_make_key_prints_a_key_and_the_entry_that_knows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--weight", "2", "--max-priority", "5", "--audio-seconds-per-day", "3600"]
    assert main(["make-key", "alice", *options]) == 0
    shown, _, entries = capsys.readouterr().out.partition("Its entry:\n")
    key = shown.split()[-1]
    ring = load_keys(write(tmp_path / "keys.yaml", yaml.safe_load(entries)), {})
    assert ring is not None
    found = ring.find(key)
    assert (found.name, found.weight, found.max_priority) == ("alice", 2.0, 5)
    assert found.audio_seconds_per_day == 3600.0
    assert key not in entries


def test_make_key_refuses_a_name_that_could_be_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["make-key", "10.0.0.1"]) == 2
    assert "name" in capsys.readouterr().err
