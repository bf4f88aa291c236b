"""The commands that submit jobs: `make`, `repaint`, `cover` and `understand`."""

from typing import Annotated

import typer

from acestep_client.answers import JobResult
from acestep_client.errors import JobError, WaitTimeoutError
from acestep_client.handles import Job
from acestep_client.shell import exits, options
from acestep_client.shell.following import Following
from acestep_client.shell.outputs import format_of, save
from acestep_client.shell.screen import out, print_json, say
from acestep_client.shell.server import client_of

SUCCESS = "successfully!"
"""The end of the first sentence of a `status_message`; notes follow it."""


def make(
    context: typer.Context,
    caption: options.Caption = "",
    lyrics: options.Lyrics = None,
    seconds: options.Seconds = None,
    output: options.Output = None,
    query: Annotated[
        str | None, typer.Option("--query", help="A sentence, from which the language model writes the song.")
    ] = None,
    count: options.Count = 1,
    seed: options.Seed = None,
    model: options.Model = None,
    thinking: options.Thinking = None,
    fields: options.Fields = None,
    detach: options.Detach = False,
    timeout: options.Timeout = None,
    as_json: options.Json = False,
) -> None:
    """Make songs from a caption and lyrics, and save them.

    The songs' files are printed. An interrupt (Ctrl-C) cancels the job.
    """
    request = options.song_fields(
        lyrics, seconds, count, seed, model, thinking, fields, audio_format=format_of(output)
    )
    if query is not None:
        request["sample_query"] = query
    with client_of(context) as client:
        _finish(client.generate(caption, **request), output, detach, timeout, as_json)


def repaint(
    context: typer.Context,
    source: options.Source,
    caption: options.Caption = "",
    start: Annotated[
        float, typer.Option("--from", help="Where it begins, in seconds; negative puts music in front.")
    ] = 0.0,
    end: Annotated[
        float | None,
        typer.Option("--to", help="Where it ends, in seconds; beyond the end adds music. Default: the end."),
    ] = None,
    lyrics: options.Lyrics = None,
    output: options.Output = None,
    count: options.Count = 1,
    seed: options.Seed = None,
    model: options.Model = None,
    fields: options.Fields = None,
    detach: options.Detach = False,
    timeout: options.Timeout = None,
    as_json: options.Json = False,
) -> None:
    """Renew a part of a recording, or make it longer."""
    request = options.song_fields(
        lyrics, None, count, seed, model, None, fields, audio_format=format_of(output)
    )
    recording = options.existing(source)
    with client_of(context) as client:
        job = client.repaint(recording, caption, start=start, end=end, **request)
        _finish(job, output, detach, timeout, as_json)


def cover(
    context: typer.Context,
    source: options.Source,
    caption: options.Caption = "",
    strength: Annotated[
        float | None,
        typer.Option(
            "--strength", help="From 0 to 1: for how long the song follows its source.", min=0, max=1
        ),
    ] = None,
    lyrics: options.Lyrics = None,
    output: options.Output = None,
    count: options.Count = 1,
    seed: options.Seed = None,
    model: options.Model = None,
    fields: options.Fields = None,
    detach: options.Detach = False,
    timeout: options.Timeout = None,
    as_json: options.Json = False,
) -> None:
    """Make a song again in another style."""
    request = options.song_fields(
        lyrics, None, count, seed, model, None, fields, audio_format=format_of(output)
    )
    if strength is not None:
        request["audio_cover_strength"] = strength
    recording = options.existing(source)
    with client_of(context) as client:
        _finish(client.cover(recording, caption, **request), output, detach, timeout, as_json)


def understand(
    context: typer.Context,
    source: options.Source,
    fields: options.Fields = None,
    detach: options.Detach = False,
    timeout: options.Timeout = None,
    as_json: options.Json = False,
) -> None:
    """Describe a recording: caption, lyrics, tempo, key and more."""
    request = options.song_fields(fields=fields)
    recording = options.existing(source)
    with client_of(context) as client:
        job = client.understand(recording, **request)
        if detach:
            _print_submitted(job, as_json)
            return
        result = _followed(job, timeout, as_json)
        if as_json:
            print_json(job.snapshot)
            return
        for name in ("caption", "language", "bpm", "keyscale", "timesignature", "duration", "genres"):
            if (value := result.metas.get(name)) is not None:
                out().print(f"{name}: {value}", markup=False)
        if lyrics := result.metas.get("lyrics"):
            out().print(f"\n{lyrics}", markup=False)


def _finish(job: Job, output: str | None, detach: bool, timeout: float | None, as_json: bool) -> None:
    """Wait for a job, save its songs and print their files, or with `detach` only print its id."""
    if detach:
        _print_submitted(job, as_json)
        return
    result = _followed(job, timeout, as_json)
    files = save(job, output)
    if as_json:
        assert job.snapshot is not None
        print_json({**job.snapshot.model_dump(mode="json"), "files": [str(file) for file in files]})
        return
    if notes := result.status_message.partition(SUCCESS)[2].strip():
        say(f"note: {notes}")
    for file in files:
        out().print(str(file), markup=False)


def _followed(job: Job, timeout: float | None, as_json: bool) -> JobResult:
    """Show a job to its end and return its result. An interrupt cancels it."""
    try:
        return followed(job, timeout, as_json)
    except KeyboardInterrupt:
        job.cancel()
        say(f"the job {job.id} has been cancelled")
        raise typer.Exit(exits.INTERRUPTED) from None


def followed(job: Job, timeout: float | None, as_json: bool) -> JobResult:
    """Show a job to its end and return its result; for scripts only print how it ended, if it failed."""
    try:
        with Following(as_json) as show:
            return job.wait(show, timeout)
    except JobError as error:
        if as_json:
            print_json(error.snapshot)
        raise
    except WaitTimeoutError:
        say(f"`acestep show {job.id} --wait` follows the job")
        raise


def _print_submitted(job: Job, as_json: bool) -> None:
    if as_json:
        print_json({"job_id": job.id, "status": job.status})
    else:
        out().print(job.id, markup=False)
