"""The arguments and options that several commands of `acestep` share."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from acestep_client.shell.server import job_ids, model_names

Caption = Annotated[str, typer.Argument(help="What the music is like.", show_default=False)]
Source = Annotated[
    str,
    typer.Argument(
        help="A recording on this machine, or a song of the server (/v1/audio/…).", show_default=False
    ),
]
Lyrics = Annotated[
    typer.FileText | None,
    typer.Option("--lyrics", help="A file with the lyrics; - reads standard input. Without it: no singing."),
]
Seconds = Annotated[
    float | None, typer.Option("--seconds", help="Length of the song; else the language model chooses.")
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        help="A file, whose ending chooses the format; a folder; or - for standard output.",
    ),
]
Count = Annotated[int, typer.Option("--count", "-n", help="Number of songs.", min=1)]
Seed = Annotated[str | None, typer.Option("--seed", help="The same seed makes the same song again.")]
Model = Annotated[
    str | None,
    typer.Option("--model", help="A music model of `acestep models`.", autocompletion=model_names),
]
Thinking = Annotated[
    bool | None,
    typer.Option(
        "--thinking/--no-thinking",
        help="Whether the language model writes audio codes first.",
        show_default=False,
    ),
]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other field of the API, such as bpm=120 or audio_format=flac; may be repeated.",
    ),
]
Detach = Annotated[
    bool, typer.Option("--detach", help="Submit, print the id of the job, and do not wait for it.")
]
Timeout = Annotated[
    float | None, typer.Option("--timeout", help="Stop waiting after so many seconds; the job goes on.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and no progress.")]
JobId = Annotated[str, typer.Argument(help="Its id.", autocompletion=job_ids, show_default=False)]


def song_fields(
    lyrics: typer.FileText | None = None,
    seconds: float | None = None,
    count: int | None = None,
    seed: str | None = None,
    model: str | None = None,
    thinking: bool | None = None,
    fields: list[str] | None = None,
    audio_format: str | None = None,
) -> dict[str, Any]:
    """Return the fields of a request that the options ask for. Raises typer.BadParameter."""
    named = {
        "lyrics": None if lyrics is None else lyrics.read(),
        "audio_duration": seconds,
        "batch_size": count,
        "seed": seed,
        "model": model,
        "thinking": thinking,
        "audio_format": audio_format,
    }
    given = {name: value for name, value in named.items() if value is not None}
    return {**given, **dict(map(_field, fields or ()))}


def _field(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not of the form NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def existing(source: str) -> str | Path:
    """Return the source that an argument names. Raises typer.BadParameter for a file that is not there."""
    if source.startswith("/v1/audio/"):
        return source
    path = Path(source)
    if not path.is_file():
        raise typer.BadParameter(f"there is no file {source}")
    return path
