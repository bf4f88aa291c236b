"""The choice of songs for the next forward."""

import torch

from deployments.generator.step_queue import DenoiseJob, QueuedSong, StepQueue
from tests.queued_songs import STEPS, queue_of, sizes, song


def step(queue: StepQueue, batch: list[QueuedSong]) -> None:
    for queued in batch:
        queued.song.trajectory.advance([torch.zeros_like(queued.song.trajectory.latents)])
    queue.put_back(batch)


def test_the_shortest_goes_first_with_all_that_fit_beside_it() -> None:
    assert sizes(queue_of([500], [100], [300]).take(room=400)) == [100, 300]


def test_a_song_of_heuns_method_counts_all_its_forwards() -> None:
    queue = queue_of()
    queue.join(DenoiseJob((), songs=[song(100, heun_steps=STEPS)]))
    queue.join(DenoiseJob((), songs=[song(150)]))
    assert sizes(queue.take(room=1)) == [150]


def test_a_song_larger_than_the_room_goes_alone() -> None:
    assert sizes(queue_of([500], [600]).take(room=400)) == [500]


def test_the_songs_of_a_forward_are_not_taken_again_before_they_come_back() -> None:
    queue = queue_of([100], [100], [100])
    first, second = queue.take(room=200), queue.take(room=200)
    assert [len(first), len(second), len(queue.take(room=200))] == [2, 1, 0]
    step(queue, first)
    assert queue.take(room=200) == first


def test_nobody_who_comes_late_overtakes_a_song_that_is_due() -> None:
    queue = queue_of([400])
    for _ in range(5):
        step(queue, queue.take(room=1))  # Time passes.
    queue.join(DenoiseJob((), songs=[song(300)]))
    assert sizes(queue.take(room=1)) == [400]


def test_a_finished_song_leaves_the_queue() -> None:
    queue = queue_of([100], [200])
    for _ in range(STEPS):
        step(queue, queue.take(room=100))
    assert (len(queue), queue.tokens) == (1, 200)
    assert sizes(queue.take(room=100)) == [200]


def test_a_job_that_leaves_while_a_forward_has_its_song_does_not_come_back() -> None:
    queue = queue_of([100, 100], [200])
    batch = queue.take(room=200)
    queue.leave(batch[0].job)
    step(queue, batch)
    assert sizes(queue.take(room=400)) == [200]


def test_it_knows_whether_all_songs_are_has_one_job() -> None:
    assert queue_of([100, 200]).has_one_job
    assert not queue_of([100], [100]).has_one_job
    assert queue_of().has_one_job


def test_the_texts_of_a_forward_are_limited_too() -> None:
    queue = queue_of([100], [110], [120], text_tokens=600)
    assert sizes(queue.take(room=1_000, text_room=1_200)) == [100, 110]
    assert sizes(queue.take(room=1_000, text_room=500)) == [120]
