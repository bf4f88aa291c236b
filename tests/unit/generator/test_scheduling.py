"""How the songs of the step queue are divided into forwards."""

import pytest

from deployments.generator.adapters.mounting import Mount
from deployments.generator.scheduling import StepScheduler
from deployments.generator.step_queue import StepQueue
from tests.queued_songs import queue_of, queue_with_adapters, sizes
from tests.recording_share import RecordingShare


def scheduler_of(queue: StepQueue, tokens_per_forward: int, cores: int = 2) -> StepScheduler:
    return StepScheduler(queue, tokens_per_forward, RecordingShare(cores))


@pytest.mark.parametrize(
    ("jobs", "forwards"),
    [
        ([[100]], 1),
        ([[100], [300]], 2),
        ([[100], [900]], 2),
        ([[900], [900]], 1),
        ([[200, 200]], 2),
        ([[100, 300]], 1),
        ([[600, 600]], 1),
    ],
    ids=[
        "fewer songs than cores",
        "two jobs",
        "two jobs of which the next to run fits",
        "the next song does not fit",
        "equal songs of one job",
        "unequal songs of one job would wait for each other",
        "songs of one job that do not fit",
    ],
)
def test_each_core_gets_a_forward_where_there_are_songs_enough(jobs: list[list[int]], forwards: int) -> None:
    assert scheduler_of(queue_of(*jobs), tokens_per_forward=500).forwards_at_once() == forwards


def test_a_song_that_runs_counts_as_one_that_must_fit() -> None:
    scheduler = scheduler_of(queue_of([100], [200], [900]), tokens_per_forward=500)
    batches = [scheduler.next_batch() for _ in range(4)]
    taken = [batch and (sizes(batch.queued), batch.forwards) for batch in batches]
    assert taken == [([100], 2), ([200], 2), ([900], 1), None]


def test_forwards_share_the_tokens_that_wait() -> None:
    scheduler = scheduler_of(queue_of([100], [100], [100], [100]), tokens_per_forward=1000)
    batches = [scheduler.next_batch() for _ in range(3)]
    assert [batch and sizes(batch.queued) for batch in batches] == [[100, 100], [100, 100], None]
    assert [batch.token_slots for batch in batches if batch] == [500, 500]


def test_songs_with_equal_adapters_share_a_forward_where_all_songs_step_at_once() -> None:
    one, other = Mount((), {}), Mount((), {})
    scheduler = scheduler_of(queue_with_adapters(one, other, one, other), tokens_per_forward=1000)
    batches = [scheduler.next_batch() for _ in range(2)]
    assert [{queued.job.mount for queued in batch.queued} for batch in batches if batch] == [{one}, {other}]


def test_adapters_change_no_turns_where_some_songs_have_to_wait() -> None:
    one, other = Mount((), {}), Mount((), {})
    queue = queue_with_adapters(one, other, one, one)
    batches = [scheduler_of(queue, tokens_per_forward=300).next_batch() for _ in range(2)]
    found = [queued.job.mount for batch in batches if batch for queued in batch.queued]
    assert found == [one, other]


def test_songs_of_one_job_are_in_lockstep() -> None:
    assert scheduler_of(queue_of([100, 100]), 500).in_lockstep
    assert not scheduler_of(queue_of([100], [100]), 500).in_lockstep


def test_a_forward_that_ran_out_of_memory_halves_the_room_and_never_raises_it() -> None:
    scheduler = scheduler_of(queue_of([100], [100], [100]), tokens_per_forward=1000, cores=1)
    assert not scheduler.is_full
    scheduler.lower_limit(tokens=200, forwards=2)
    scheduler.lower_limit(tokens=900, forwards=1)
    assert scheduler.is_full
    batch = scheduler.next_batch()
    assert batch is not None
    assert (sizes(batch.queued), batch.token_slots) == ([100, 100], 200)
