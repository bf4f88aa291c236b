"""Free space of the disks that jobs and songs are written to."""

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from configs.settings import Settings


def written_folders(settings: Settings) -> list[Path]:
    """Return the local folders that grow with each job: those of the SQLite file and of the songs."""
    folders = []
    if settings.jobs.keeps_a_file:
        folders.append(Path(settings.jobs.store).parent)
    if "://" not in settings.storage.uri:
        folders.append(Path(settings.storage.uri))
    elif settings.storage.uri.startswith("file://"):
        folders.append(Path(settings.storage.uri.removeprefix("file://")))
    return folders


def free_bytes(folders: Collection[Path]) -> int | None:
    """Return the free bytes of the fullest of these disks; None if there is none. Blocks. Raises OSError."""
    return min((shutil.disk_usage(_existing(folder)).free for folder in folders), default=None)


def _existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    while not os.path.lexists(folder):
        folder = folder.parent
    return folder
