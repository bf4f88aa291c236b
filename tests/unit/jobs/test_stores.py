"""The rules of every job store: each method, and who may write."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from serve_app.jobs.mode import Mode
from serve_app.jobs.model import Callback, IdempotencyKey, Job, JobState
from serve_app.jobs.storing.store import JobStore, StoreError, StoreTakenError
from serve_app.jobs.storing.stores import open_store
from tests.job_records import a_finished_job, a_job


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[JobStore]:
    kind = request.param
    location = kind if kind == "memory" else request.getfixturevalue(f"{kind}_location")
    with closing(open_store(location)) as store:
        yield store


def keep(store: JobStore, *jobs: Job) -> None:
    store.write({job.job_id: job for job in jobs})


def ids(jobs: list[Job]) -> list[str]:
    return [job.job_id for job in jobs]


# Methods


def test_a_new_store_is_empty(store: JobStore) -> None:
    assert store.get("job-1") is None
    assert list(store.unsettled_jobs()) == []
    assert store.next_sequence() == 0
    assert store.counts() == dict.fromkeys(JobState, 0)
    assert store.stored_bytes() == {}
    assert store.find("", "key") is None
    assert store.page(None, None, 100, 10) == []
    assert store.ended(2e9, False, 10) == []
    assert store.unknown(["job-1", "job-2"]) == {"job-1", "job-2"}
    store.write({})
    store.write({"never there": None})


def test_a_job_is_read_as_it_was_written_and_written_anew(store: JobStore) -> None:
    keep(store, a_job(1))
    assert store.get("job-1") == a_job(1)
    keep(store, a_job(1, state=JobState.FAILED, finished_at=5.5, error="Nothing\nworked: ♯\0"))
    assert store.get("job-1") == a_job(
        1, state=JobState.FAILED, finished_at=5.5, error="Nothing\nworked: ♯\0"
    )


def test_a_record_of_megabytes_is_kept(store: JobStore) -> None:
    large = a_job(1, result={"audio_codes": ["<|audio_code_12345|>" * 3000] * 64})
    keep(store, large)
    assert store.get("job-1") == large


def test_unsettled_jobs_are_those_with_anything_left_to_do(store: JobStore) -> None:
    keep(
        store,
        a_job(5),
        a_job(2, state=JobState.RUNNING),
        a_finished_job(1, 10.0),
        a_finished_job(3, 10.0, tidy_at=10.0),
        a_finished_job(4, 10.0, callback=Callback(due_at=10.0)),
    )
    assert ids(list(store.unsettled_jobs())) == ["job-2", "job-3", "job-4", "job-5"]


def test_sequences_go_on_after_the_newest_record_is_gone(store: JobStore) -> None:
    keep(store, a_job(3), a_job(7))
    store.write({"job-7": None})
    assert store.next_sequence() == 8


def test_bytes_are_added_up_by_client(store: JobStore) -> None:
    keep(
        store,
        a_job(1, client="alice b", uploaded_bytes=10),
        a_finished_job(2, 10.0, client="alice b", file_bytes=5, uploaded_bytes=1),
        a_job(3, client=""),
        a_job(4, client="", uploaded_bytes=7),
    )
    assert store.stored_bytes() == {"alice b": 16, "": 7}
    keep(store, a_job(4, client="", uploaded_bytes=0))
    store.write({"job-1": None})
    assert store.stored_bytes() == {"alice b": 6}


def test_an_idempotency_key_finds_the_client_s_newest_job(store: JobStore) -> None:
    keep(
        store,
        a_job(1, client="a", idempotency=IdempotencyKey("key", "x")),
        a_job(9, client="a", idempotency=IdempotencyKey("key", "y")),
        a_job(5, client="a", idempotency=IdempotencyKey("key", "z")),
        a_job(3, client="b", idempotency=IdempotencyKey("key", "w")),
    )
    assert store.find("a", "key") == a_job(9, client="a", idempotency=IdempotencyKey("key", "y"))
    store.write({"job-9": None})
    assert store.find("a", "key") == a_job(5, client="a", idempotency=IdempotencyKey("key", "z"))
    assert store.find("c", "key") is None
    assert store.find("a", "ke") is None


def test_keys_and_clients_do_not_run_together(store: JobStore) -> None:
    keep(store, a_job(1, client="a:b", idempotency=IdempotencyKey("c", "x")))
    assert store.find("a", "b:c") is None
    assert store.page("a", None, 100, 10) == []


def test_pages_run_from_the_newest_to_the_oldest(store: JobStore) -> None:
    keep(store, *(a_job(n, client="alice" if n % 2 else "") for n in range(10)))
    assert ids(store.page(None, None, 10, 3)) == ["job-9", "job-8", "job-7"]
    assert ids(store.page(None, None, 7, 3)) == ["job-6", "job-5", "job-4"]
    assert ids(store.page("alice", None, 7, 2)) == ["job-5", "job-3"]
    assert ids(store.page("alice", JobState.QUEUED, 3, 2)) == ["job-1"]
    assert store.page("alice", JobState.RUNNING, 10, 2) == []


@pytest.mark.parametrize("before", [2**63, 10**400, -(10**400), -1])
def test_a_page_before_any_number_is_no_error(store: JobStore, before: int) -> None:
    keep(store, a_job(1))
    assert ids(store.page(None, None, before, 10)) == (["job-1"] if before > 0 else [])


def test_ended_jobs_come_oldest_first(store: JobStore) -> None:
    keep(
        store,
        a_finished_job(1, 30.0, files=("a",)),
        a_finished_job(2, 10.0),
        a_finished_job(3, 20.0, files=("b",)),
        a_finished_job(4, 5.0, tidy_at=5.0),
        a_job(5),
    )
    assert ids(store.ended(100.0, False, 10)) == ["job-2", "job-3", "job-1"]
    assert ids(store.ended(30.0, False, 10)) == ["job-2", "job-3"]
    assert ids(store.ended(100.0, True, 1)) == ["job-3"]
    assert ids(store.ended(float("inf"), True, 5)) == ["job-3", "job-1"]


def test_jobs_that_are_kept_until_a_time_come_earliest_first(store: JobStore) -> None:
    keep(
        store,
        a_finished_job(1, 5.0, keep_until=30.0),
        a_finished_job(2, 5.0, keep_until=10.0),
        a_finished_job(3, 5.0),
        a_finished_job(4, 5.0, keep_until=5.0, tidy_at=5.0),
        a_finished_job(6, 5.0, keep_until=20.0),
    )
    assert ids(store.kept_until(100.0, 10)) == ["job-2", "job-6", "job-1"]
    assert ids(store.kept_until(20.0, 10)) == ["job-2"]
    assert ids(store.kept_until(100.0, 1)) == ["job-2"]
    keep(store, a_finished_job(2, 5.0))
    store.write({"job-6": None})
    assert ids(store.kept_until(100.0, 10)) == ["job-1"]


@pytest.mark.parametrize("job_id", ["\ud800", "job-1\0", "", "job-1 ", "x" * 100_000, "' OR 1=1 --", "*"])
def test_an_id_that_nobody_has_is_unknown_whatever_it_holds(store: JobStore, job_id: str) -> None:
    keep(store, a_job(1))
    assert store.get(job_id) is None
    assert store.unknown([job_id, "job-1"]) == {job_id}


def test_the_secret_stays(store: JobStore) -> None:
    assert len(store.secret()) == 32
    assert store.secret() == store.secret()
    assert len(set(store.secret())) > 8


def test_the_operator_s_mode_is_open_until_it_is_set(store: JobStore) -> None:
    assert store.mode() is Mode.OPEN
    for mode in (Mode.DRAINING, Mode.PAUSED, Mode.OPEN):
        store.set_mode(mode)
        assert store.mode() is mode
    keep(store, a_job(1))
    assert store.next_sequence() == 2


def test_a_client_s_note_is_the_last_one_until_it_is_deleted(store: JobStore) -> None:
    assert store.client_notes() == {}
    for client, note in (("ann", "one"), ("ann", "two ♯"), ("1.2.3.4 *?", "three")):
        store.note_client(client, note)
    assert store.client_notes() == {"ann": "two ♯", "1.2.3.4 *?": "three"}
    store.note_client("ann", None)
    store.note_client("nobody", None)
    assert store.client_notes() == {"1.2.3.4 *?": "three"}


# Ownership of a store


def test_what_was_written_is_there_when_it_is_opened_again(location: str) -> None:
    with closing(open_store(location)) as store:
        keep(store, a_job(1))
        secret = store.secret()
        store.set_mode(Mode.DRAINING)
        store.note_client("ann", "folk")
    with closing(open_store(location)) as store:
        assert store.client_notes() == {"ann": "folk"}
        assert store.get("job-1") == a_job(1)
        assert store.secret() == secret
        assert store.mode() is Mode.DRAINING
        keep(store, a_job(2))


def test_the_tracker_that_opened_a_store_last_is_the_only_one_that_writes(location: str) -> None:
    with closing(open_store(location)) as first, closing(open_store(location)) as second:
        with pytest.raises(StoreError, match="another job tracker has opened this store"):
            keep(first, a_job(1))
        with pytest.raises(StoreError, match="another job tracker has opened this store"):
            first.set_mode(Mode.PAUSED)
        with pytest.raises(StoreError, match="another job tracker has opened this store"):
            first.note_client("ann", "folk")
        assert second.client_notes() == {}
        assert second.mode() is Mode.OPEN
        keep(second, a_job(2))
        assert first.get("job-1") is None
        assert first.get("job-2") == a_job(2)
        with pytest.raises(StoreError):
            keep(first, a_job(3))


def test_a_tracker_can_see_whether_the_store_is_still_its_own_without_a_write(location: str) -> None:
    with closing(open_store(location)) as first:
        keep(first, a_job(1))
        first.check_owner()
        with closing(open_store(location)) as second:
            second.check_owner()
            with pytest.raises(StoreTakenError, match="another job tracker has opened this store"):
                first.check_owner()
            second.check_owner()
            keep(second, a_job(2))
            second.check_owner()


def test_a_closed_store_can_be_closed_again_and_takes_nothing(location: str) -> None:
    store = open_store(location)
    store.close()
    store.close()
    with pytest.raises(StoreError):
        keep(store, a_job(1))
    with pytest.raises(StoreError):
        store.get("job-1")
    with closing(open_store(location)) as store:
        assert store.get("job-1") is None


def test_a_store_is_closed_between_two_writes_never_within_one(location: str) -> None:
    store = open_store(location)
    written = []

    def write() -> None:
        with suppress(StoreError):
            for batch in range(10_000):
                keep(store, *(a_job(batch * 20 + n) for n in range(20)))
                written.append(batch)

    writer = threading.Thread(target=write)
    writer.start()
    while len(written) < 3:
        time.sleep(0.001)
    store.close()
    writer.join(20)
    assert not writer.is_alive()
    assert len(written) < 10_000
    with closing(open_store(location)) as store:
        assert store.next_sequence() == 20 * len(written)


def test_all_that_a_write_holds_appears_at_once_to_those_who_read_beside_it(location: str) -> None:
    """A batch gives all jobs the same progress. No reader may see two values or wait for the writer."""
    jobs = [a_job(n) for n in range(8)]
    seen: list[list[Job]] = []
    errors: list[BaseException] = []
    ready = threading.Event()

    def read() -> None:
        try:
            while not ready.is_set():
                seen.append(store.page(None, None, 100, 100))
                assert store.get("job-3") is not None
        except BaseException as error:
            errors.append(error)

    with closing(open_store(location)) as store:
        keep(store, *jobs)
        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for step in range(60):
            keep(store, *(job.with_(progress=step / 100) for job in jobs))
        ready.set()
        for reader in readers:
            reader.join(20)
    assert not errors
    assert all(len({job.progress for job in page}) == 1 and len(page) == 8 for page in seen)
    assert len({page[0].progress for page in seen}) > 3
