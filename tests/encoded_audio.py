"""Makes audio files in memory from samples [channels, n]."""

import io

import av
import numpy as np
import numpy.typing as npt
import soundfile

from tests.audio import chord

Samples = npt.NDArray[np.float32]
BIT_RATE = 128_000
"""Bits per second for codecs that have a bit rate, if no other is given."""


def music(seconds: float, sample_rate: int = 48_000) -> Samples:
    """Return [2, samples] that every codec represents well."""
    return np.ascontiguousarray(chord(seconds, sample_rate).T)


def sound_file(
    samples: Samples,
    container: str,
    subtype: str,
    sample_rate: int = 48_000,
    bitrate_mode: str | None = None,
    compression_level: float | None = None,
) -> bytes:
    """Encode samples with libsndfile."""
    file = io.BytesIO()
    soundfile.write(
        file,
        samples.T,
        sample_rate,
        format=container,
        subtype=subtype,
        bitrate_mode=bitrate_mode,
        compression_level=compression_level,
    )
    return file.getvalue()


def ffmpeg_file(
    samples: Samples,
    container: str,
    codec: str,
    sample_rate: int = 48_000,
    layout: str = "stereo",
    options: dict[str, str] | None = None,
) -> bytes:
    """Encode samples with FFmpeg. `options` go to its encoder."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(
            codec, rate=sample_rate, layout=layout, options={"b": str(BIT_RATE), **(options or {})}
        )
        # The layout is not planar, because PyAV otherwise finds more than eight planes.
        frame = av.AudioFrame.from_ndarray(samples.T.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate, frame.pts = sample_rate, 0
        to_codec = av.AudioResampler(stream.codec_context.format, frame_size=stream.frame_size)
        for piece in [*to_codec.resample(frame), *to_codec.resample(None)]:
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return file.getvalue()
