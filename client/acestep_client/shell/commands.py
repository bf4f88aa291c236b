"""The commands of `acestep`."""

from collections.abc import Sequence
from typing import Annotated

import typer

from acestep_client import __version__
from acestep_client.configuration import KEY_VARIABLE, LOCAL, URL_VARIABLE
from acestep_client.errors import AcestepError
from acestep_client.shell import exits, looking, making
from acestep_client.shell.screen import err, report, say, show_repetitions
from acestep_client.shell.server import Server

EPILOG = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in exits.MEANINGS.items()) + "."

app = typer.Typer(
    name="acestep",
    help="Music from a shell: songs from a caption and lyrics, made by an acestep-serve server.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    making.make,
    making.repaint,
    making.cover,
    making.understand,
    looking.jobs,
    looking.show,
    looking.save,
    looking.cancel,
    looking.models,
    looking.usage,
):
    app.command()(command)


def _version(is_wanted: bool) -> None:
    if is_wanted:
        print(f"acestep {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Option("--url", envvar=URL_VARIABLE, help=f"Address of the server. Default: {LOCAL}."),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option("--api-key", envvar=KEY_VARIABLE, help="Your key, if the server asks for one."),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(
            "--patience", help="Seconds for which to try again while the server is away or too busy.", min=0
        ),
    ] = 60.0,
    _version_only: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    context.obj = Server(url, api_key, patience)
    show_repetitions(err())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        app(arguments, prog_name="acestep")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else exits.DONE
    except AcestepError as error:
        report(error)
        return exits.exit_code_of(error)
    except OSError as error:
        say(f"error: {error}")
        return exits.FAILED
    return exits.DONE
