import random
import statistics

import pytest

from benchmarks.end_to_end import mix
from benchmarks.peers.song_request import peer_crashes


def test_the_same_seed_makes_the_same_requests_and_arrivals() -> None:
    assert mix.songs(20, (10, 60), 3) == mix.songs(20, (10, 60), 3)
    assert mix.songs(20, (10, 60), 3) != mix.songs(20, (10, 60), 4)
    assert mix.poisson_arrivals(0.5, 20, 3) == mix.poisson_arrivals(0.5, 20, 3)


def test_a_mix_has_every_length_format_and_batch_size() -> None:
    requests = mix.songs(400, (10, 60), 1, thinking_share=0.5)
    assert {request.audio_duration for request in requests} == set(range(10, 61))
    assert {request.audio_format for request in requests} == set(mix.FORMATS)
    assert {request.batch_size for request in requests} == {1, 2}
    assert statistics.mean(request.thinking for request in requests) == pytest.approx(0.5, abs=0.1)


def test_all_requests_think_unless_told_otherwise() -> None:
    assert all(request.thinking for request in mix.songs(50, (10, 60), 1))


def test_the_peers_can_do_every_duration() -> None:
    assert not any(peer_crashes(request.audio_duration) for request in mix.songs(400, (1, 600), 1))


def test_the_peers_crash_on_some_durations() -> None:
    crashing = [tenths / 10 for tenths in range(100, 6000) if peer_crashes(tenths / 10)]
    assert 0.02 < len(crashing) / 5900 < 0.05


def test_no_two_requests_have_the_same_words() -> None:
    requests = mix.songs(50, (10, 60), 1)
    assert len({request.caption for request in requests}) == 50


def test_reworded_requests_are_the_same_work_in_other_words() -> None:
    requests = mix.songs(50, (10, 60), 1)
    others = mix.reworded(requests, 2)
    wordless = {"caption", "lyrics"}
    assert [one.model_dump(exclude=wordless) for one in others] == [
        one.model_dump(exclude=wordless) for one in requests
    ]
    assert not {one.caption for one in others} & {one.caption for one in requests}
    assert not {one.lyrics for one in others} & {one.lyrics for one in requests}


def test_a_batch_counts_all_its_songs() -> None:
    request = mix.song(random.Random(0), (30, 30), 1.0, batch_size=2)
    assert list(request.seeds) == [request.seed, request.seed + 1]
    assert request.audio_seconds == 60
    assert mix.audio_seconds([request, mix.one_song(10, 1)]) == 70


@pytest.mark.parametrize("rate", [0.1, 4.0])
def test_arrivals_come_at_their_rate_and_at_random(rate: float) -> None:
    times = mix.poisson_arrivals(rate, 4000, 2)
    gaps = [later - earlier for earlier, later in zip([0.0, *times], times, strict=False)]
    assert times == sorted(times)
    assert statistics.mean(gaps) == pytest.approx(1 / rate, rel=0.1)
    # This holds for an exponential distribution.
    assert statistics.stdev(gaps) == pytest.approx(1 / rate, rel=0.1)
