"""How much room the disks have that jobs and songs are written to."""

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from configs.settings import Settings


def written_folders(settings: Settings) -> list[Path]:
    """Folders on this machine's disks that grow with each job: of the SQLite file, of the songs."""
    folders = []
    if settings.jobs.keeps_a_file:
        folders.append(Path(settings.jobs.store).parent)
    if "://" not in settings.storage.uri:
        folders.append(Path(settings.storage.uri))
    elif settings.storage.uri.startswith("file://"):
        folders.append(Path(settings.storage.uri.removeprefix("file://")))
    return folders


def free_bytes(folders: Collection[Path]) -> int | None:
    """Of the fullest of these disks; None without any. Blocks. Raises OSError."""
    return min((shutil.disk_usage(_existing(folder)).free for folder in folders), default=None)


def _existing(folder: Path) -> Path:
    """The folder itself, or what it will be made in."""
    while not os.path.lexists(folder):
        folder = folder.parent
    return folder
