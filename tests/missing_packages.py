"""A Python that lacks packages that are installed."""

from collections.abc import Collection
from pathlib import Path

_SITE_CUSTOMIZE = """
import sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] not in {names!r}:
            return PathFinder.find_spec(name, path, target)

sys.meta_path = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
"""


def without_packages(folder: Path, names: Collection[str]) -> Path:
    """A folder for PYTHONPATH: Python then finds none of these packages, as if they were not installed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SITE_CUSTOMIZE.format(names=tuple(names)))
    return folder
