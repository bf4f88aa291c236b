"""The deployment's work on files. It blocks, and does not use the model."""

import numpy as np

from deployments.codec.files.finishing import finished_repaint, finished_song
from deployments.codec.files.loudness import gain_to_usual_level
from deployments.codec.files.recordings import padded, reference_excerpt
from deployments.codec.files.writing import Report, write
from deployments.common.errors import JobError
from deployments.common.messages import DecodeRequest, EncodeRequest
from deployments.common.stored_files import new_stored_file, stored_file
from deployments.common.stored_recordings import AudioFileError, Samples, read


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


def write_song(waveform: Samples, request: DecodeRequest, report: Report) -> int:
    """Finish the decoder's `waveform`, write the requested file and return its size in bytes."""
    if request.splice is None:
        song = finished_song(waveform, request.seconds, request.finish)
    else:
        source = _stored_recording(request.splice.uri, "source")
        song = finished_repaint(waveform, request.seconds, source, request.splice, request.finish)
    with new_stored_file(request.uri) as file:
        write(song, request.audio_format, file, report)
        return file.seek(0, 2)


def _stored_recording(uri: str, purpose: str) -> Samples:
    try:
        with stored_file(uri) as file:
            return read(file)
    except AudioFileError as error:
        raise JobError(f"The {purpose} audio {error}: submit the job again.") from error
