"""The server that a command speaks to."""

from dataclasses import dataclass

import typer

from acestep_client.client import Client
from acestep_client.retrying import Retries


@dataclass(frozen=True)
class Server:
    """The options that all commands share."""

    url: str | None
    api_key: str | None
    patience_seconds: float

    def client(self) -> Client:
        """Return a client. Raises typer.BadParameter for an address that is none."""
        try:
            return Client(self.url, self.api_key, retries=Retries(self.patience_seconds))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error


def client_of(context: typer.Context) -> Client:
    """Return a client of the server that the options or the environment name."""
    server = context.find_object(Server)
    assert server is not None
    return server.client()


def job_ids(incomplete: str) -> list[str]:
    """Return ids of recent jobs that begin so, for the completion of shells; none without a server."""
    try:
        with Client(retries=Retries(0)) as client:
            return [job.id for job in client.jobs(limit=20) if job.id.startswith(incomplete)]
    except Exception:
        return []


def model_names(incomplete: str) -> list[str]:
    """Return names of music models that begin so; none without a server."""
    try:
        with Client(retries=Retries(0)) as client:
            return [model.name for model in client.models().models if model.name.startswith(incomplete)]
    except Exception:
        return []
