"""The command `leftovers`, for folders in the storage that the job store does not know."""

import argparse
import json
import sys

from serve_app.admin.errors import CommandError
from serve_app.admin.parser import Commands, add_json_option
from serve_app.admin.running_tracker import RunningTracker, add_server_options, running_tracker
from serve_app.admin.tables import table
from serve_app.jobs.housekeeping.leftovers import Leftovers
from serve_app.jobs.tracker_api import TrackerApi

COLUMNS = {"STORE": "<", "FOLDERS": ">", "WHOSE": "<"}


def add_commands(commands: Commands) -> None:
    """Add `leftovers`."""
    leftovers = commands.add_parser(
        "leftovers",
        help="show or delete folders that lost job stores left in the storage",
        description="Show the folders in the storage without a record in this server's job store, by the "
        "store to which they belong. A server deletes its own leftovers but never those of another store. "
        "With --delete you delete the folders of a store that is lost for good; its songs cannot be served "
        "any more. Make sure that no other server uses that store: a store whose server has been off for "
        "an hour looks like a lost one.",
    )
    leftovers.add_argument("store", nargs="?", metavar="STORE", help="name of a store that is not in use")
    leftovers.add_argument("--delete", action="store_true", help="delete the folders of STORE")
    add_json_option(leftovers)
    add_server_options(leftovers)
    leftovers.set_defaults(run=_leftovers)


def _leftovers(options: argparse.Namespace) -> int:
    tracker = running_tracker(options)
    if options.delete:
        return _delete(tracker, options)
    found = tracker.ask(TrackerApi.leftovers)
    rows = [
        (store, folders, whose) for store, folders, whose in _rows(found) if options.store in {None, store}
    ]
    if options.json:
        print(
            json.dumps([{"store": store, "folders": count, "whose": whose} for store, count, whose in rows])
        )
    else:
        print(table(COLUMNS, [(store, str(count), whose) for store, count, whose in rows]))
    return 0


def _rows(found: Leftovers) -> list[tuple[str, int, str]]:
    return [
        (found.store, len(found.abandoned), "this server's, which deletes them after an hour"),
        *((store, count, "of another server, which is running") for store, count in found.neighbours.items()),
        *((store, len(job_ids), "of a store that is not in use") for store, job_ids in found.unowned.items()),
    ]


def _delete(tracker: RunningTracker, options: argparse.Namespace) -> int:
    found = tracker.ask(TrackerApi.leftovers)
    if options.store not in found.unowned:
        raise CommandError(f"{options.store} names no store that is not in use and has left something")
    wanted = len(found.unowned[options.store])
    deleted = tracker.ask(TrackerApi.delete_left_by, options.store)
    if options.json:
        print(json.dumps({"store": options.store, "deleted": deleted}))
    else:
        print(f"{deleted} folders have been deleted")
    if deleted < wanted:
        print(f"{wanted - deleted} could not be deleted: the job tracker's log says why", file=sys.stderr)
        return 1
    return 0
