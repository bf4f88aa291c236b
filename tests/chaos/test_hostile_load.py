"""Songs are made, and the server answers, while strangers send the worst that they may."""

import pytest

from benchmarks.end_to_end.statistics import percentile
from benchmarks.hostile_load.probe import TIMEOUT_SECONDS
from benchmarks.hostile_load.siege import ALONE, BESIEGED, MIB, SONGS, SONGS_BESIEGED, measure

pytestmark = pytest.mark.slow

LARGEST_MIB = 1_200
SLOWER = 20
"""How many times as long `/health` may take, at the median, as while songs are made without strangers."""


def test_songs_are_made_and_questions_answered_while_strangers_besiege_the_server() -> None:
    figures = measure()
    assert [figures.phase(name).songs for name in (ALONE, SONGS_BESIEGED)] == [SONGS, SONGS]
    assert figures.lost_attempts == 0
    alone = percentile(figures.within(figures.health, ALONE), 0.5)
    for phase in (BESIEGED, SONGS_BESIEGED):
        health = figures.within(figures.health, phase)
        assert max(health) < 1000 * TIMEOUT_SECONDS
        assert percentile(health, 0.5) < SLOWER * alone
    memory = figures.phase(SONGS_BESIEGED).memory
    assert memory["Ingress"] < LARGEST_MIB * MIB
    assert memory["ProxyActor"] < LARGEST_MIB * MIB
    assert "large body: 413" in figures.answers
    assert not any(answer.endswith(("500", "502", "504")) for answer in figures.answers)
