"""Pytest plugin that assigns tests to the workers of pytest-xdist and decides which begin first.

`make test` runs on two workers. Tests that share a server or an engine stay on one of them, and the longest
group begins first, so that both workers end at about the same time.
"""

from typing import Any

import pytest

SERVER, GUARDED = "server", "guarded"
"""The groups of tests that share the fixture of that name."""
SHARED_SERVERS = (SERVER, GUARDED)
WITH_GUARDED_SERVER = (
    "tests/integration/studio/test_users.py",
    "tests/integration/test_attempts.py",
    "tests/integration/test_fuzz.py",
    "tests/integration/test_keys.py",
    "tests/integration/test_several_dits.py",
    "tests/integration/test_songs_in_s3.py",
)
OWN_SERVERS = (
    "tests/chaos/",
    "tests/integration/test_embedded_music.py",
    "tests/integration/test_placement_orders.py",
    "tests/integration/test_run.py",
    "tests/integration/test_runners_in_serve.py",
)
"""Long tests that start their own servers."""
WITHOUT_SERVERS = (
    "tests/integration/test_admin.py",
    "tests/integration/test_object_storage.py",
    "tests/integration/test_shared_storage.py",
    "tests/integration/test_storage.py",
)
STUDIO = "tests/integration/studio/"
WITH_SERVER = ("tests/integration/test_", STUDIO)


def group_of(nodeid: str) -> str:
    """Return the group of a test: all that use one shared server, all that use one training, or one file."""
    file = nodeid.partition("::")[0]
    if file.startswith(WITH_GUARDED_SERVER):
        return GUARDED
    if file.startswith(WITH_SERVER) and not file.startswith((*OWN_SERVERS, *WITHOUT_SERVERS)):
        return SERVER
    if file.startswith("tests/integration/training/"):
        return "training"
    return file


def rank_of(group: str) -> int:
    """Return the rank of a group. Groups of lower rank begin first."""
    if group in SHARED_SERVERS:
        return SHARED_SERVERS.index(group)
    if group.startswith(OWN_SERVERS):
        return 2 if group.startswith("tests/chaos/") else 3
    return 5 if group.startswith(("tests/unit", "tests/parity")) else 4


def in_order(groups: list[str]) -> list[str]:
    """Return the distinct groups in the order in which they begin.

    xdist gives each of its two workers two groups at once. The tests of the server take most of a worker's
    time, so a short group comes second there.
    """
    ordered = sorted(dict.fromkeys(groups), key=rank_of)
    if len(ordered) > 2 and ordered[0] == SERVER:
        ordered.insert(2, ordered.pop())
    return ordered


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    groups = {item: group_of(item.nodeid) for item in items}
    for item, group in groups.items():
        if group == GUARDED and SERVER in getattr(item, "fixturenames", ()):
            raise pytest.UsageError(
                f"{item.nodeid} uses `{SERVER}` in the lane of `{GUARDED}`, where it would start a second "
                f"server: move it to a file that is not in WITH_GUARDED_SERVER"
            )
    ranks = {group: rank for rank, group in enumerate(in_order([groups[item] for item in items]))}
    # The studio comes last in its lane. By then the other worker has come to tests that leave it the cores.
    items.sort(key=lambda item: (ranks[groups[item]], item.nodeid.startswith(STUDIO)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return our own scheduler, because xdist 3.8 does not find its own groups with pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class Lanes(LoadScopeScheduling):
        """Keeps each group on one worker."""

        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return Lanes(config, log)
