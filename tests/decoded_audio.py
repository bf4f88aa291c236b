"""Decodes audio files as the server does, but without the separate process for strangers' files."""

import tempfile
from pathlib import Path

import numpy as np

from deployments.common.stored_recordings import FRAME_BYTES, HEADER_BYTES, Samples, header
from serve_app.recordings.conversion import Converted, convert


def converted(content: bytes, max_seconds: float = 3_600.0) -> tuple[Samples, Converted]:
    """Return the samples [2, n] at 48 kHz of an audio file, and the report. Raises RecordingError."""
    with tempfile.TemporaryFile() as recording, tempfile.TemporaryFile() as output:
        recording.write(content)
        recording.flush()
        outcome = convert(recording.fileno(), output, max_seconds)
        output.seek(HEADER_BYTES)
        return np.frombuffer(output.read(), "<f4").reshape(-1, 2).T, outcome


def decoded(content: bytes, max_seconds: float = 3_600.0) -> Samples:
    """Return the samples [2, n] at 48 kHz of an audio file. Raises RecordingError."""
    return converted(content, max_seconds)[0]


def decoded_file(path: Path | str) -> Samples:
    """Return the samples [2, n] at 48 kHz of an audio file. Raises RecordingError."""
    return decoded(Path(path).read_bytes())


def stored_recording(samples: Samples) -> bytes:
    """Return a file in the format in which the server stores recordings, from samples [2, n] at 48 kHz."""
    content = np.ascontiguousarray(samples.T, "<f4").tobytes()
    return header(len(content) // FRAME_BYTES) + content
