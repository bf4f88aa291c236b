"""The header of a safetensors file: names, types and shapes of its tensors. No tensor is read.

safetensors' own reader needs a local file. This one reads a few kilobytes of any file, also of an object
store, and holds what it finds to limits before anything is allocated.
Format: https://huggingface.co/docs/safetensors.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from deployments.checkpoints.adapters.errors import AdapterError

MAX_FILE_BYTES = 1 << 30
MAX_HEADER_BYTES = 16 << 20
"""An adapter of all matrices of the largest DiT has 1,300 tensors, whose header takes 200 kB."""
MAX_TENSORS = 20_000

WIDTHS = {"F32": 4, "BF16": 2, "F16": 2}
"""The types of an adapter's numbers, by safetensors' names, with the bytes of each."""
_LENGTH_BYTES = 8


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the header describes it."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """The first byte of its numbers, from the beginning of the file, as in `end`."""
    end: int


@dataclass(frozen=True)
class Header:
    """All that a file says of itself."""

    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]


def read_header(file: BinaryIO, file_bytes: int) -> Header:
    """The header of `file`, which has `file_bytes` bytes.

    Raises AdapterError for a file of another format, a file that is cut off, or one beyond the limits.
    """
    if file_bytes > MAX_FILE_BYTES:
        raise AdapterError(f"its file is larger than {MAX_FILE_BYTES >> 20} MiB")
    start = file.read(_LENGTH_BYTES)
    length = int.from_bytes(start, "little")
    if len(start) < _LENGTH_BYTES or length < 2:
        raise AdapterError("its file is no safetensors file: it is too short")
    if start.startswith((b"PK", b"\x80")):
        raise AdapterError("its file is no safetensors file but a pickle, which is never read: convert it")
    if length > MAX_HEADER_BYTES:
        raise AdapterError(
            f"its file is no safetensors file, or its header of {length} bytes is beyond "
            f"{MAX_HEADER_BYTES >> 20} MiB"
        )
    if _LENGTH_BYTES + length > file_bytes:
        raise AdapterError("its file ends within the header: it may be incomplete")
    content = file.read(length)
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise AdapterError("its file is no safetensors file: its header is no JSON") from error
    if not isinstance(entries, dict):
        raise AdapterError("its file is no safetensors file: its header is no JSON object")
    metadata = entries.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise AdapterError("the metadata in its file are no texts")
    if len(entries) > MAX_TENSORS:
        raise AdapterError(f"its file has more than {MAX_TENSORS} tensors")
    first = _LENGTH_BYTES + length
    tensors = {name: _tensor(name, entry, first, file_bytes) for name, entry in sorted(entries.items())}
    _check_places(tensors, first, file_bytes)
    return Header(tensors, metadata)


def _tensor(name: str, entry: Any, first: int, file_bytes: int) -> StoredTensor:
    try:
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        numbers = (*shape, start, end)
    except (KeyError, TypeError, ValueError) as error:
        raise AdapterError(f"the header of its file does not describe {name}") from error
    if not all(type(number) is int and 0 <= number <= MAX_FILE_BYTES for number in numbers):
        raise AdapterError(f"the header of its file has impossible sizes for {name}")
    if dtype not in WIDTHS:
        raise AdapterError(f"{name} has the type {dtype!s:.20}, not one of {', '.join(WIDTHS)}")
    if math.prod(shape) * WIDTHS[dtype] != end - start:
        raise AdapterError(f"{name} takes {end - start} bytes, which its shape {list(shape)} does not")
    if first + end > file_bytes:
        raise AdapterError(f"its file ends before {name}: it may be incomplete")
    return StoredTensor(dtype, shape, first + start, first + end)


def _check_places(tensors: Mapping[str, StoredTensor], first: int, file_bytes: int) -> None:
    """Raises AdapterError unless the tensors fill the file end to end, as the format demands."""
    at = first
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != at:
            raise AdapterError(f"{name} overlaps another tensor of its file, or leaves a gap before it")
        at = tensor.end
    if at != file_bytes:
        raise AdapterError("its file goes on after the last tensor")
