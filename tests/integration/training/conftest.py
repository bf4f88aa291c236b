"""Runs the whole recipe in a few steps."""

from pathlib import Path

import pytest

from training.data import SongBlocks
from training.recipe import QUICK
from training.run import run


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    assert run("all", QUICK, folder, minutes=10)
    return folder


@pytest.fixture(scope="session")
def songs(work: Path) -> SongBlocks:
    return SongBlocks(work / "songs", QUICK)
