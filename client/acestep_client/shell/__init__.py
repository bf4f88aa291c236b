"""The command line `acestep`."""

from acestep_client.shell.commands import main

__all__ = ["main"]
