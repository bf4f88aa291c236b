"""Positions and the work ahead in queues of any length."""

import random

import pytest

from serve_app.jobs.model import Place
from serve_app.jobs.queue.job_queue import JobQueue, QueuedJob
from serve_app.request.work import Work


def waiting(number: int, client: str = "") -> QueuedJob:
    return QueuedJob(str(number), client, Work(1, units=(0.0, float(number), 0.0, 0.0, 0.0)))


def test_positions_and_work_ahead_are_those_of_a_sorted_list() -> None:
    rng = random.Random(1)
    queue = JobQueue()
    expected: list[Place] = []
    for sequence in range(1500):
        place = Place(rng.choice((0, -5)), rng.uniform(0, 100), sequence)
        queue.add(place, waiting(sequence, str(sequence % 7)))
        expected.append(place)
        if rng.random() < 0.4:
            queue.remove(expected.pop(rng.randrange(len(expected))))
    expected.sort()
    assert len(queue) == len(expected) > 500
    assert queue.first() == str(expected[0].sequence)
    for index in rng.sample(range(len(expected)), 50):
        ahead = [place.sequence for place in expected[:index]]
        assert queue.position(expected[index]) == index + 1
        work = queue.work_before(expected[index])
        assert (work.jobs, work.units[1]) == (index, pytest.approx(sum(ahead)))
        assert [work.units[1] for work in queue.before(expected[index])] == ahead


def test_the_work_ahead_counts_the_parts_of_checkpoints() -> None:
    works = [
        Work(1, (1.0,) * 5, (2.0,) * 5, (1.0,) * 5, {name: (1.0, 2.0, 1.0)} if name else {})
        for name in ("denoising/base", "", "denoising/turbo", "denoising/base")
    ]
    queue, places = JobQueue(), [Place(0, float(number), number) for number in range(len(works) + 1)]
    for place, work in zip(places, works, strict=False):
        queue.add(place, QueuedJob("a job", "a client", work))
    for number, place in enumerate(places):
        assert queue.work_before(place) == sum(works[:number], Work())
    assert queue.work_before(places[-1]).models == {
        "denoising/base": (2.0, 4.0, 2.0),
        "denoising/turbo": (1.0, 2.0, 1.0),
    }


def test_an_emptied_queue_has_nothing_ahead() -> None:
    queue = JobQueue()
    places = [Place(0, 0.1 * number, number) for number in range(600)]
    for place in places:
        queue.add(place, waiting(1))
    for place in reversed(places):
        queue.remove(place)
    assert (len(queue), queue.first(), queue.first_of("")) == (0, None, None)
    assert queue.work_before(places[5]) == Work()
    with pytest.raises(KeyError):
        queue.remove(places[0])


def test_a_client_has_a_first_and_a_last_of_each_rank() -> None:
    queue = JobQueue()
    places = [Place(-1, 7.0, 0), Place(0, 1.0, 1), Place(0, 2.0, 2), Place(0, 3.0, 3)]
    for place, client in zip(places, ("me", "me", "me", "another"), strict=True):
        queue.add(place, waiting(place.sequence, client))
    assert queue.first_of("me") == (places[0], waiting(0).work)
    assert (queue.last_of("me", -1), queue.last_of("me", 0)) == (places[0], places[2])
    assert queue.last_of("me", -2) is None
    assert queue.last_of("nobody", 0) is None


def test_the_work_ahead_follows_each_change_of_a_queue_that_was_asked_before() -> None:
    queue = JobQueue()
    first, second, last = (Place(0, float(number), number) for number in (1, 2, 3))
    queue.add(first, waiting(1))
    queue.add(last, waiting(3))
    assert queue.work_before(last).units[1] == 1
    queue.add(second, waiting(2))
    assert queue.work_before(last).units[1] == 3
    queue.remove(first)
    assert queue.work_before(last).units[1] == 2
