"""Songs are made while strangers send the worst that the limits permit."""

import pytest

from benchmarks.hostile_load.__main__ import SONGS, measure

pytestmark = pytest.mark.slow

LARGEST_MIB = 1_200
"""The API's process took 810 MiB and Serve's proxy 770. Without strangers they take 160 and 140."""


def test_songs_are_made_and_no_process_grows_while_strangers_besiege_the_server() -> None:
    figures = measure()
    (_idle, alone, besieged) = figures["health"]
    assert (alone["songs"], besieged["songs"]) == (SONGS, SONGS)
    assert figures["lost attempts"] == 0
    memory = {row["process"]: row["under siege, MiB"] for row in figures["memory"]}
    assert memory["Ingress"] < LARGEST_MIB
    assert memory["ProxyActor"] < LARGEST_MIB
    answers = {row["request"]: row["count"] for row in figures["answers"]}
    assert "large body: 413" in answers
    assert not any(answer.endswith(("500", "502", "504")) for answer in answers)
