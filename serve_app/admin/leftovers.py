"""The command `leftovers`, for folders in the storage that the job store does not know."""

import json
import sys
from typing import Annotated

import typer

from serve_app.admin.errors import CommandError
from serve_app.admin.parser import CONFIG, Address, Config, Json, add_command
from serve_app.admin.running_tracker import RunningTracker, Server, running_tracker
from serve_app.admin.tables import table
from serve_app.jobs.housekeeping.leftovers import Leftovers
from serve_app.jobs.tracker_api import TrackerApi

COLUMNS = {"STORE": "<", "FOLDERS": ">", "WHOSE": "<"}


def add_commands(app: typer.Typer) -> None:
    """Add `leftovers`."""
    add_command(
        app,
        "leftovers",
        _leftovers,
        help="show or delete folders that lost job stores left in the storage",
        description="Show the folders in the storage without a record in this server's job store, by the "
        "store to which they belong. A server deletes its own leftovers but never those of another store. "
        "With --delete you delete the folders of a store that is lost for good; its songs cannot be served "
        "any more. Make sure that no other server uses that store: a store whose server has been off for "
        "an hour looks like a lost one.",
    )


def _leftovers(
    store: Annotated[
        str | None, typer.Argument(metavar="STORE", help="Name of a store that is not in use.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the folders of STORE.")] = False,
    as_json: Json = False,
    config: Config = CONFIG,
    address: Address = "auto",
) -> int:
    tracker = running_tracker(Server(config, address))
    if delete:
        return _delete(tracker, store, as_json)
    rows = [row for row in _rows(tracker.ask(TrackerApi.leftovers)) if store in {None, row[0]}]
    if as_json:
        print(json.dumps([{"store": name, "folders": count, "whose": whose} for name, count, whose in rows]))
    else:
        print(table(COLUMNS, [(name, str(count), whose) for name, count, whose in rows]))
    return 0


def _rows(found: Leftovers) -> list[tuple[str, int, str]]:
    return [
        (found.store, len(found.abandoned), "this server's, which deletes them after an hour"),
        *((store, count, "of another server, which is running") for store, count in found.neighbours.items()),
        *((store, len(job_ids), "of a store that is not in use") for store, job_ids in found.unowned.items()),
    ]


def _delete(tracker: RunningTracker, store: str | None, as_json: bool) -> int:
    found = tracker.ask(TrackerApi.leftovers)
    if store is None or store not in found.unowned:
        raise CommandError(f"{store} names no store that is not in use and has left something")
    wanted = len(found.unowned[store])
    deleted = tracker.ask(TrackerApi.delete_left_by, store)
    if as_json:
        print(json.dumps({"store": store, "deleted": deleted}))
    else:
        print(f"{deleted} folders have been deleted")
    if deleted < wanted:
        print(f"{wanted - deleted} could not be deleted: the job tracker's log says why", file=sys.stderr)
        return 1
    return 0
