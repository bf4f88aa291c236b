"""Relative paths in the settings never lead to the place where packages are installed."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from configs import settings as settings_module
from configs.settings import PROJECT_ROOT, Settings
from serve_app.jobs.storing.disk import written_folders
from serve_app.storage import AudioStorage

SECTIONS = {
    "models": {"folder": "weights"},
    "api": {"audio_roots": ["audio_in"], "keys_file": "keys.yaml"},
    "tracing": {"folder": "spans"},
}


def paths(settings: Settings) -> list[str]:
    return [
        settings.jobs.store,
        settings.storage.uri,
        str(settings.models.folder),
        str(settings.api.audio_roots[0]),
        str(settings.api.keys_file),
        str(settings.tracing.folder),
    ]


def expected(folder: Path) -> list[str]:
    names = ("output/jobs.sqlite3", "output", "weights", "audio_in", "keys.yaml", "spans")
    return [str(folder / name) for name in names]


def test_in_a_clone_it_is_the_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(**SECTIONS)
    assert settings.state_directory == PROJECT_ROOT
    assert paths(settings) == expected(PROJECT_ROOT)


def test_an_installed_package_takes_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_module, "PROJECT_ROOT", tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)
    assert paths(Settings(**SECTIONS)) == expected(tmp_path)
    assert AudioStorage("output").recording_uri("job", "source") == str(tmp_path / "output/job/source")


def test_the_setting_moves_everything_that_is_relative(tmp_path: Path) -> None:
    settings = Settings(**SECTIONS, state_directory=str(tmp_path))
    assert paths(settings) == expected(tmp_path)
    assert written_folders(settings) == [tmp_path / "output", tmp_path / "output"]
    assert Settings(state_directory="state").storage.uri == str(PROJECT_ROOT / "state" / "output")
    # The setting of one object does not affect others.
    assert Settings(**SECTIONS).state_directory == PROJECT_ROOT


def test_absolute_paths_and_urls_stay(tmp_path: Path) -> None:
    jobs, songs = {"store": "redis://redis:6379/0"}, {"uri": "s3://songs"}
    settings = Settings(jobs=jobs, storage=songs, models={"folder": "/models"}, state_directory=tmp_path)
    assert (settings.jobs.store, settings.storage.uri) == ("redis://redis:6379/0", "s3://songs")
    assert settings.models.folder == Path("/models")
    assert Settings(jobs={"store": "memory"}, state_directory=tmp_path).jobs.store == "memory"


INSTALLED = """
import sys
sys.path[:0] = [sys.argv[1]]
import yaml
from configs.settings import PROJECT_ROOT, Settings
from deployments.checkpoints.location import EMBEDDED
from deployments.checkpoints.official_shapes import _FOLDER
from serve_app.app import build
assert str(PROJECT_ROOT) == sys.argv[1], PROJECT_ROOT
(application,) = yaml.safe_load(open(sys.argv[2]).read())["applications"]
settings = Settings(**application["args"])
build(settings)
assert (PROJECT_ROOT / "configs" / "cpu.yaml").is_file()
assert any(_FOLDER.glob("*.json"))
print(settings.jobs.store, *sorted(str(path.relative_to(EMBEDDED)) for path in EMBEDDED.rglob("*.*")))
"""


def test_every_file_of_the_packages_is_installed() -> None:
    """Setuptools leaves out folders without `__init__.py` and other files than those that it is told."""
    setuptools = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns: dict[str, list[str]] = setuptools["package-data"]
    installed = {
        path
        for package, globs in patterns.items()
        for pattern in globs
        for path in PROJECT_ROOT.joinpath(*package.split(".")).glob(pattern)
    }
    files = [
        path
        for package in ("configs", "deployments", "serve_app")
        for path in (PROJECT_ROOT / package).rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    ]
    folders = {file.parent for file in files if file.suffix == ".py"}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
    assert [file for file in files if file.suffix != ".py" and not installed & {file, *file.parents}] == []


@pytest.mark.slow
def test_an_installed_package_is_complete_and_keeps_nothing_in_it(tmp_path: Path) -> None:
    source, target, elsewhere = (tmp_path / name for name in ("source", "target", "elsewhere"))
    elsewhere.mkdir()
    for name in ("configs", "deployments", "serve_app"):
        shutil.copytree(PROJECT_ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "serve_config.yaml"):
        shutil.copy(PROJECT_ROOT / name, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--no-compile"]
    install = [sys.executable, "-m", "pip", "install", *options, "--target", target, "."]
    subprocess.run(install, cwd=source, check=True)
    command = [sys.executable, "-I", "-c", INSTALLED, target, source / "serve_config.yaml"]
    done = subprocess.run(command, cwd=elsewhere, check=True, stdout=subprocess.PIPE, text=True)
    store, *embedded = done.stdout.split()
    assert store == str(elsewhere / "output" / "jobs.sqlite3")
    folder = PROJECT_ROOT / "deployments" / "checkpoints" / "embedded"
    assert embedded == sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))
