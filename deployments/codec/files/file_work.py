"""The deployment's work on files. It blocks, and does not use the model."""

import hashlib
import os
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import BinaryIO, cast

import numpy as np

from deployments.codec.files.finishing import finished_repaint, finished_song
from deployments.codec.files.loudness import gain_to_usual_level
from deployments.codec.files.recordings import padded, reference_excerpt
from deployments.codec.files.signing import KIND, MEDIA_TYPES, Signing
from deployments.codec.files.tags import KINDS, tags_of
from deployments.codec.files.writing import Report, write
from deployments.common.errors import JobError, StorageError
from deployments.common.messages import DecodeRequest, EncodeRequest
from deployments.common.stored_files import new_stored_file, stored_file
from deployments.common.stored_recordings import AudioFileError, Samples, read
from deployments.common.temporary_files import temporary_files


def recording_to_encode(request: EncodeRequest) -> tuple[Samples, float]:
    """The samples [2, n] at 48 kHz for the VAE's encoder, and the factor by which they were multiplied.

    Raises JobError if the file cannot be used.
    """
    samples = _stored_recording(request.uri, request.purpose)
    if request.purpose == "reference":
        return reference_excerpt(samples, request.seed), 1.0
    source = padded(samples, request.pad_left, request.pad_right)
    if request.renewed is None:
        return source, 1.0
    gain = gain_to_usual_level(source, *request.renewed)
    return source * np.float32(gain), gain


@dataclass(frozen=True)
class WrittenSong:
    """A file in the storage."""

    byte_count: int
    sha256: str
    """The digest of the whole file, as 64 hexadecimal digits."""
    kinds: tuple[str, ...]
    """The kinds of marks in it, such as "ID3", "XMP" and "C2PA"."""


@dataclass(frozen=True)
class Marking:
    """How this server marks its songs."""

    tags: bool = True
    signing: Signing | None = None


def write_song(
    waveform: Samples, request: DecodeRequest, report: Report, marking: Marking = Marking()
) -> WrittenSong:
    """Finish the decoder's `waveform` and write the requested file with its marks."""
    if request.splice is None:
        song = finished_song(waveform, request.seconds, request.finish)
    else:
        source = _stored_recording(request.splice.uri, "source")
        song = finished_repaint(waveform, request.seconds, source, request.splice, request.finish)
    with new_stored_file(request.uri) as file:
        kinds = _write_marked(song, request, file, report, marking)
        return WrittenSong(file.seek(0, os.SEEK_END), _sha256(file), kinds)


def _write_marked(
    song: Samples, request: DecodeRequest, file: BinaryIO, report: Report, marking: Marking
) -> tuple[str, ...]:
    """Write the file, and return the kinds of marks in it."""
    marks, audio_format = request.marks, request.audio_format
    tags = tags_of(marks) if marks and marking.tags else None
    kinds = KINDS[audio_format] if tags else ()
    if marks is None or marking.signing is None or audio_format not in MEDIA_TYPES:
        write(song, audio_format, file, report, tags)
        return kinds
    with temporary_files(), TemporaryFile() as made:
        plain = cast(BinaryIO, made)
        write(song, audio_format, plain, report, tags)
        plain.flush()
        try:
            marking.signing.sign(plain, audio_format, marks, file)
        except OSError as error:  # not of the folder of temporary files
            raise StorageError(f"{request.uri}: {error}") from error
    return (*kinds, KIND)


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _stored_recording(uri: str, purpose: str) -> Samples:
    try:
        with stored_file(uri) as file:
            return read(file)
    except AudioFileError as error:
        raise JobError(f"The {purpose} audio {error}: submit the job again.") from error
