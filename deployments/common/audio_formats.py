"""The audio formats of results."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AudioFormat:
    """One format. Its key in FORMATS is the `audio_format` of a request."""

    extension: str
    media_type: str
    description: str


FORMATS = {
    "mp3": AudioFormat("mp3", "audio/mpeg", "MP3, 192 kbit/s"),
    "wav": AudioFormat("wav", "audio/wav", "WAV, 16 bit"),
    "flac": AudioFormat("flac", "audio/flac", "FLAC, 24 bit"),
    "opus": AudioFormat("opus", "audio/ogg", "Opus in Ogg, 160 kbit/s"),
    "ogg": AudioFormat("ogg", "audio/ogg", "Vorbis in Ogg, about 190 kbit/s"),
    "wav32": AudioFormat("wav", "audio/wav", "WAV, 32 bit floating point"),
    "aac": AudioFormat("m4a", "audio/mp4", "AAC in MP4, 192 kbit/s"),
}


def extension(audio_format: str) -> str:
    """The file name extension, without the dot."""
    return FORMATS[audio_format].extension
