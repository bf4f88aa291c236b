"""The adapters in the folders of `models.adapters`, found by name.

A name is that of a file without `.safetensors`, or that of a folder. Names are only ever looked up in the
listing, and no part of a request becomes a path.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from deployments.checkpoints.adapters.config import PeftConfig, peft_config
from deployments.checkpoints.adapters.errors import AdapterError
from deployments.checkpoints.adapters.header import MAX_FILE_BYTES, Header, read_header
from deployments.checkpoints.adapters.outline import Outline, outline_of
from deployments.common.errors import StorageError
from deployments.common.stored_files import located, storage_errors

SUFFIX = ".safetensors"
_FILES = ("adapter_model.safetensors", "lokr_weights.safetensors", "pytorch_lora_weights.safetensors")
"""The files in an adapter's folder, by the names that trainers give them; the first that is there counts."""
_INNER = "adapter"
"""The subfolder into which the original's trainer writes."""
_CONFIG = "adapter_config.json"
_MAX_CONFIG_BYTES = 1 << 20
_NAME = re.compile(r"[^\x00-\x1f/\\\x7f]{1,128}")
_BLOCK_BYTES = 1 << 16
"""Bytes that reading a header fetches from an object store at once."""


@dataclass(frozen=True)
class AdapterFile:
    """The file of one adapter."""

    name: str
    place: str
    """The URI of the file, or of the folder that is the adapter's own."""
    uri: str
    file_bytes: int
    version: str
    """Another text after the file or its config was replaced."""
    config_uri: str | None = None
    """The adapter_config.json beside it."""

    @cached_property
    def header(self) -> Header:
        """Raises AdapterError and StorageError."""
        file_system, path = located(self.uri)
        with _read_errors(), file_system.open(path, "rb", block_size=_BLOCK_BYTES) as file:
            return read_header(file, self.file_bytes)

    @cached_property
    def outline(self) -> Outline:
        """Raises AdapterError and StorageError."""
        return outline_of(self.header, self._config())

    def content(self) -> bytes:
        """All of the file. Raises AdapterError and StorageError."""
        return _content(self.uri, MAX_FILE_BYTES)

    def _config(self) -> PeftConfig | None:
        if self.config_uri is None:
            return None
        return peft_config(_content(self.config_uri, _MAX_CONFIG_BYTES))


def adapter_files(folders: Iterable[str]) -> dict[str, AdapterFile]:
    """The adapters in `folders`, paths or fsspec URIs, by name. Of two with one name the first counts.

    A folder that does not exist holds none. Raises StorageError where a folder cannot be listed.
    """
    found: dict[str, AdapterFile] = {}
    for folder in folders:
        for adapter in _in_folder(folder):
            found.setdefault(adapter.name, adapter)
    return dict(sorted(found.items()))


def folder_adapters(folder: str) -> dict[str, AdapterFile]:
    """As `adapter_files`, for a folder that may itself be that of one adapter, by the name of its file."""
    files = _entries(folder)
    name = folder.rstrip("/").rpartition("/")[2]
    is_adapter = any(file in files for file in _FILES)
    adapter = _chosen(name, folder.rstrip("/"), files) if is_adapter else None
    return adapter_files([folder]) if adapter is None else {name: adapter}


def _in_folder(folder: str) -> Iterator[AdapterFile]:
    entries = _entries(folder)
    for name, entry in sorted(entries.items()):
        stem = name.removesuffix(SUFFIX)
        if name.startswith(".") or not _NAME.fullmatch(stem):
            continue
        if entry["type"] == "directory":
            inside = _entries(_uri(folder, name))
            adapter = _chosen(name, entry["uri"], inside)
            if adapter is None and _INNER in inside:
                adapter = _chosen(name, entry["uri"], _entries(_uri(folder, name, _INNER)))
            if adapter is not None:
                yield adapter
        elif name.endswith(SUFFIX):
            yield _adapter(stem, entry["uri"], entry)


def _chosen(name: str, place: str, entries: Mapping[str, Mapping[str, Any]]) -> AdapterFile | None:
    """The adapter among the files of its own folder: one with a trainer's name, or the only one."""
    files = [file for file, entry in entries.items() if file.endswith(SUFFIX) and entry["type"] == "file"]
    known = [file for file in _FILES if file in files]
    if not known and len(files) != 1:
        return None
    return _adapter(name, place, entries[(known or files)[0]], entries.get(_CONFIG))


def _adapter(
    name: str, place: str, entry: Mapping[str, Any], config: Mapping[str, Any] | None = None
) -> AdapterFile:
    version = _version(entry) + ("" if config is None else f" {_version(config)}")
    config_uri = None if config is None else config["uri"]
    return AdapterFile(name, place, entry["uri"], int(entry["size"] or 0), version, config_uri)


def _version(entry: Mapping[str, Any]) -> str:
    marks = (entry.get(mark) for mark in ("size", "mtime", "ino", "ETag", "LastModified", "updated"))
    return "-".join(str(mark) for mark in marks if mark is not None)


def _entries(folder: str) -> dict[str, dict[str, Any]]:
    """Return the entries of a folder by name; none where it does not exist. Raises StorageError."""
    file_system, path = located(folder)
    try:
        with storage_errors(FileNotFoundError, NotADirectoryError):
            listed = file_system.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    entries = {}
    for entry in listed:
        name = entry["name"].rstrip("/").rpartition("/")[2]
        entries[name] = {**entry, "uri": _uri(folder, name)}
    return entries


def _uri(folder: str, *names: str) -> str:
    return "/".join((folder.rstrip("/"), *names))


def _content(uri: str, most: int) -> bytes:
    file_system, path = located(uri)
    with _read_errors(), file_system.open(path, "rb") as file:
        content: bytes = file.read(most + 1)
    if len(content) > most:
        raise AdapterError("its file is too large")
    return content


@contextmanager
def _read_errors() -> Iterator[None]:
    try:
        with storage_errors(AdapterError, FileNotFoundError):
            yield
    except FileNotFoundError as error:
        raise AdapterError("its file is no longer there") from error
    except StorageError as error:
        raise StorageError("the file of an adapter cannot be read") from error
