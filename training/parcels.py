"""Packs files of a run into pieces that can be carried to another machine and back.

A parcel is a folder that holds a tar archive in pieces of at most 15 MB, and `parcel.json`, which holds the
checksums of the pieces. That file is written last, so that a parcel which was interrupted, or whose pieces
belong to different parcels, is recognised.
"""

import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

PIECE_BYTES = 15_000_000
_CONTENT = "parcel.json"


class ParcelError(Exception):
    """A parcel is incomplete, damaged or not wanted here. The message is written for users."""


def write_parcel(contents: Mapping[str, Path], about: Mapping[str, Any], parcel: Path) -> None:
    """Write the parcel with the files and folders of `contents`, which maps names in it to paths.

    `about_parcel` returns `about`, which must be JSON. Pieces of an older parcel in the same folder are
    replaced one by one, so that the folder never holds more than one additional file.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", dereference=True) as tar:
        for name, place in contents.items():
            tar.add(place, arcname=name)
    content = archive.getbuffer()
    pieces = [content[start : start + PIECE_BYTES] for start in range(0, len(content), PIECE_BYTES)]
    parcel.mkdir(parents=True, exist_ok=True)
    checksums = {}
    for number, piece in enumerate(pieces):
        name = f"piece-{number:02}.tar"
        _replace(parcel / name, piece)
        checksums[name] = sha256(piece).hexdigest()
    _replace(parcel / _CONTENT, json.dumps({"about": about, "pieces": checksums}, indent=2).encode())
    for older in set(parcel.glob("piece-*.tar")) - {parcel / name for name in checksums}:
        older.unlink()


def _replace(file: Path, content: bytes | memoryview) -> None:
    aside = file.with_suffix(".part")
    aside.write_bytes(content)
    aside.replace(file)


def about_parcel(parcel: Path) -> dict[str, Any]:
    """Return the `about` of a parcel. Raises ParcelError."""
    return dict(_read_content(parcel)["about"])


def open_parcel(parcel: Path, root: Path) -> list[str]:
    """Put the files of a parcel under `root`, each atomically. Return their names.

    If a piece is missing or wrong, ParcelError is raised before anything is changed.
    """
    archive = io.BytesIO()
    for name, checksum in _read_content(parcel)["pieces"].items():
        file = parcel / name
        piece = file.read_bytes() if file.is_file() else b""
        if sha256(piece).hexdigest() != checksum:
            raise ParcelError(f"{file} is missing, damaged, or a piece of another parcel")
        archive.write(piece)
    archive.seek(0)
    aside = root / "opened.part"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    with tarfile.open(fileobj=archive) as tar:
        tar.extractall(aside, filter="data")
    names = sorted(str(file.relative_to(aside)) for file in aside.rglob("*") if file.is_file())
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (aside / name).replace(root / name)
    shutil.rmtree(aside)
    return names


def _read_content(parcel: Path) -> Any:
    file = parcel / _CONTENT
    if not file.is_file():
        raise ParcelError(f"{parcel} holds no parcel: there is no {_CONTENT} in it")
    return json.loads(file.read_text())
