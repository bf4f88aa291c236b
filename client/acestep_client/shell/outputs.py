"""Where the songs of a job go, and the format that follows from it."""

import sys
from pathlib import Path

import typer

from acestep_client.handles import Job

STANDARD_OUTPUT = "-"
FORMATS = {
    ".mp3": "mp3",
    ".wav": "wav",
    ".flac": "flac",
    ".ogg": "ogg",
    ".opus": "opus",
    ".m4a": "aac",
}
"""The `audio_format` of a file's ending."""


def format_of(output: str | None) -> str | None:
    """Return the format that the name of a file asks for; None for folders and standard output.

    Raises typer.BadParameter for an ending that no format has.
    """
    if output is None or output == STANDARD_OUTPUT or _is_folder(output):
        return None
    ending = Path(output).suffix.lower()
    if ending not in FORMATS:
        known = ", ".join(FORMATS)
        raise typer.BadParameter(f"a song's file ends in one of {known}; a folder ends in /")
    return FORMATS[ending]


def save(job: Job, output: str | None) -> list[Path]:
    """Write the songs of a job that has succeeded, and return the files.

    One song gets the name that was given, several get numbers before its ending. In a folder, and where no
    name was given, they have the names of the server. Raises AcestepError and OSError.
    """
    if output == STANDARD_OUTPUT:
        for song in job.songs:
            sys.stdout.buffer.write(song.read())
        sys.stdout.buffer.flush()
        return []
    if output is None or _is_folder(output):
        return job.save(output or ".")
    path = Path(output)
    if len(job.songs) == 1:
        return [job.songs[0].save(path)]
    return [song.save(path.with_stem(f"{path.stem}-{i}")) for i, song in enumerate(job.songs)]


def _is_folder(output: str) -> bool:
    return output.endswith("/") or Path(output).is_dir()
