"""Usage: each end counts once, in the transaction that stores it, and budgets are kept."""

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.errors import LimitError
from serve_app.jobs.model import Checkpoint, Client, Job, NewJob
from serve_app.jobs.storing.sqlite_store import SqliteJobStore
from serve_app.jobs.storing.store import JobStore
from serve_app.jobs.storing.stores import open_store
from serve_app.jobs.usage import Counted, Usage, day_of, days_before, next_day
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from tests.housekeeping import DAY
from tests.job_records import a_finished_job, a_job
from tests.job_tracking import WORK, Tracking
from tests.modelled_tracker import CHECKPOINT

ONE = Usage(succeeded=1, audio_ms=10_000, codes=50, language_model_ms=7, generator_ms=2_500, codec_ms=3)
FAILED = Usage(failed=1, language_model_ms=4)
ALL_DAYS = ("0000-00-00", "9999-99-99")


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[JobStore]:
    kind = request.param
    location = kind if kind == "memory" else request.getfixturevalue(f"{kind}_location")
    with closing(open_store(location)) as store:
        yield store


def ended(number: int, usage: Usage = ONE, day: str = "2026-11-29", client: str = "ann b") -> Job:
    return a_finished_job(number, 5.0, client=client, counted=Counted(day, usage))


def write(store: JobStore, *jobs: Job) -> None:
    store.write({job.job_id: job for job in jobs})


# Stores


def test_an_end_counts_once_however_often_it_is_written(store: JobStore) -> None:
    write(store, a_job(1, client="ann b"))
    assert store.usage(None, *ALL_DAYS) == {}
    for _ in range(3):
        write(store, ended(1))
    write(store, ended(1).with_(files=("a",)))
    assert store.usage("ann b", *ALL_DAYS) == {("2026-11-29", "ann b"): ONE}


def test_a_deleted_record_takes_nothing_from_the_usage(store: JobStore) -> None:
    write(store, ended(1), ended(2))
    store.write({"job-1": None, "job-2": None})
    write(store, ended(3))
    assert store.usage(None, *ALL_DAYS) == {("2026-11-29", "ann b"): ONE + ONE + ONE}


def test_a_requeued_job_gives_its_share_back(store: JobStore) -> None:
    write(store, ended(1, FAILED))
    write(store, a_job(1, client="ann b"))
    assert Usage.total(store.usage(None, *ALL_DAYS).values()) == Usage()
    write(store, ended(1, day="2026-11-30"))
    assert store.usage(None, "2026-11-30", "2026-11-30") == {("2026-11-30", "ann b"): ONE}


def test_days_and_clients_are_counted_apart_and_old_days_are_forgotten(store: JobStore) -> None:
    write(
        store,
        ended(1, day="2026-11-27"),
        ended(2, day="2026-11-28", client="bob"),
        ended(3, day="2026-11-28", client="ключ % ' \" \\"),
        ended(4, FAILED, day="2026-11-29", client="bob"),
    )
    assert store.usage("bob", *ALL_DAYS) == {("2026-11-28", "bob"): ONE, ("2026-11-29", "bob"): FAILED}
    assert store.usage("nobody", *ALL_DAYS) == {}
    assert store.usage(None, "2026-11-27", "2026-11-27").keys() == {("2026-11-27", "ann b")}
    assert len(store.usage(None, *ALL_DAYS)) == 4
    store.forget_usage("2026-11-29")
    assert store.usage(None, *ALL_DAYS) == {("2026-11-29", "bob"): FAILED}
    write(store, ended(5, day="2026-11-29", client="bob"))
    assert store.usage(None, *ALL_DAYS) == {("2026-11-29", "bob"): FAILED + ONE}


def test_another_tracker_counts_on_and_counts_nothing_twice(location: str) -> None:
    with closing(open_store(location)) as store:
        write(store, ended(1), a_job(2, client="ann b"))
    with closing(open_store(location)) as store:
        write(store, ended(1), ended(2))  # as after a write whose answer was lost
        write(store, ended(1), ended(2))
        assert store.usage(None, *ALL_DAYS) == {("2026-11-29", "ann b"): ONE + ONE}


def test_a_write_that_fails_counts_nothing_and_its_repetition_once(
    sqlite_location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteJobStore(Path(sqlite_location))
    write(store, a_job(1, client="ann b"))

    def fail(_job: Job) -> None:
        raise OSError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(store, "_put_record", fail)  # after the usage was changed in the same transaction
        with suppress(Exception):
            write(store, ended(1))
    assert store.usage(None, *ALL_DAYS) == {}
    write(store, ended(1))
    assert store.usage(None, *ALL_DAYS) == {("2026-11-29", "ann b"): ONE}
    store.close()


def test_a_job_that_was_set_aside_is_not_counted_again_when_it_is_taken_back(sqlite_location: str) -> None:
    with closing(SqliteJobStore(Path(sqlite_location))) as store:
        write(store, ended(1))
        store._writer.execute("UPDATE jobs SET record = replace(record, 'succeeded', 'succeeded in 2030')")
        assert store.get("job-1") is None
        assert len(store.set_aside()) == 1
        store._writer.execute(
            "UPDATE set_aside SET record = replace(CAST(record AS TEXT), 'succeeded in 2030', 'succeeded')"
        )
        store._seen = store._data_version()
        assert store.take_back() == ["job-1"]
        assert store.usage(None, *ALL_DAYS) == {("2026-11-29", "ann b"): ONE}


# The tracker


def submit(tracking: Tracking, budget: float | None = None, seconds: float = 10.0, **fields: Any) -> str:
    spec = JobSpec(GenerateRequest(caption="calm"), (1,))
    job_id = f"job-{tracking.store.next_sequence()}-{len(tracking.journal.unwritten)}"
    work = WORK.lasting(seconds)
    tracking.take(NewJob(job_id, spec, work, Client("ann", audio_seconds_per_day=budget), **fields))
    return job_id


def used(tracking: Tracking) -> Usage:
    tracking.flush()
    return Usage.total(tracking.store.usage("ann", *ALL_DAYS).values())


def test_the_share_of_a_finished_job_is_that_of_its_result() -> None:
    tracking = Tracking()
    job_id = submit(tracking)
    tracking.tracker.claim("token")
    timings = {"planning": 0.1, "composing": 0.2, "denoising": 0.3, "decoding": 0.4, "encoding": 0.5}
    result = {"timings": timings, "audio_codes": ["<|audio_code_1|><|audio_code_22|>", None]}
    for _ in range(2):
        tracking.tracker.finish(job_id, "token", result, ("a",), 1)
    assert used(tracking) == Usage(1, 0, 0, 10_000, 2, 300, 300, 900)


def test_of_a_job_without_a_result_the_stored_stages_count() -> None:
    tracking = Tracking()
    job_id = submit(tracking)
    tracking.tracker.claim("token")
    tracking.tracker.checkpoint(job_id, "token", Checkpoint(None, ((1, 2, 3), None), {"planning": 0.5}))
    tracking.tracker.cancel(job_id)
    assert used(tracking) == Usage(cancelled=1, codes=3, language_model_ms=500)


def test_a_purged_job_stays_in_the_usage() -> None:
    tracking = Tracking()
    job_id = submit(tracking)
    tracking.run_next(2)
    assert used(tracking).succeeded == 1
    tracking.tracker.purge(job_id, "ann")
    tracking.tidied(job_id)
    tracking.flush()
    tracking.tracker.ended.records_expired(tracking.tracker.ended.purged())
    assert used(tracking) == Usage(succeeded=1, audio_ms=10_000, generator_ms=2000)
    queued = submit(tracking)
    tracking.tracker.purge(queued, "ann")
    assert used(tracking).cancelled == 1


def test_a_job_that_fails_is_requeued_and_succeeds_has_succeeded() -> None:
    tracking = Tracking()
    job_id = submit(tracking)
    tracking.tracker.claim("token")
    tracking.tracker.fail(job_id, "token", "No.", retryable=False)
    tracking.tidied(job_id)
    assert (used(tracking).failed, used(tracking).succeeded) == (1, 0)
    tracking.tracker.requeue(job_id)
    assert used(tracking) == Usage()
    assert tracking.tracker.usage("ann", tracking.store.usage("ann", *ALL_DAYS)).days == {}
    tracking.run_next(1)
    assert (used(tracking).failed, used(tracking).succeeded) == (0, 1)


async def test_what_is_told_is_durable(tmp_path: Path) -> None:
    settings = Settings(
        jobs={"store": str(tmp_path / "jobs.sqlite3")}, storage={"uri": str(tmp_path / "output")}
    )
    tracker = DurableTracker(settings)
    await tracker.submit(NewJob("a", JobSpec(GenerateRequest(), (1,)), WORK, Client("ann")))
    await tracker.claim("token", 0)
    await tracker.finish("a", "token", {"timings": {}}, (), 0)
    told = await tracker.usage("ann", *ALL_DAYS)
    (used_today,) = told.days.values()
    assert (used_today.succeeded, used_today.audio_ms, told.taken_ms) == (1, 10_000, 10_000)
    assert (await tracker.usage("bob", *ALL_DAYS)).days == {}
    successor = DurableTracker(settings)
    assert (await successor.usage("ann", *ALL_DAYS)) == told
    await successor.close()
    await tracker.close()


# Budgets


def refusal(tracking: Tracking, budget: float, seconds: float = 10.0) -> LimitError:
    with pytest.raises(LimitError) as refused:
        submit(tracking, budget, seconds)
    return refused.value


def test_a_budget_counts_songs_of_today_and_jobs_that_wait_or_run() -> None:
    tracking = Tracking()
    first = submit(tracking, 30.0)
    submit(tracking, 30.0)
    tracking.run_next(1)
    submit(tracking, 30.0)
    refused = refusal(tracking, 30.0)
    assert refused.limit == "client_budget"
    assert "30 s of music" in refused.message
    assert "UTC" in refused.message
    assert refused.retry_after == next_day(tracking.clock.now) - tracking.clock.now
    submit(tracking)  # a client without a budget
    second = tracking.run_next(1)
    assert second != first
    refusal(tracking, 30.0)


def test_cancelled_and_failed_jobs_cost_nothing_of_a_budget() -> None:
    tracking = Tracking()
    job_id = submit(tracking, 10.0)
    refusal(tracking, 10.0)
    tracking.tracker.cancel(job_id)
    job_id = submit(tracking, 10.0)
    tracking.tracker.claim("token")
    tracking.tracker.fail(job_id, "token", "No.", retryable=False)
    submit(tracking, 10.0)


def test_a_budget_survives_a_restart_and_is_renewed_at_midnight() -> None:
    tracking = Tracking()
    submit(tracking, 20.0)
    tracking.run_next(1)
    submit(tracking, 20.0)
    tracking.restart()
    refusal(tracking, 20.0)
    tracking.wait(next_day(tracking.clock.now) - tracking.clock.now)
    submit(tracking, 20.0)  # the one that waits still counts, the song of yesterday does not
    refusal(tracking, 20.0)


def test_a_job_that_no_day_s_budget_allows_is_told_so() -> None:
    assert "more than the 5 s of music" in refusal(Tracking(), 5.0).message


def test_a_plan_that_makes_the_song_shorter_frees_budget() -> None:
    tracking = Tracking()
    job_id = submit(tracking, 40.0, seconds=30.0)
    refusal(tracking, 40.0, 20.0)
    tracking.tracker.claim("token")
    tracking.tracker.checkpoint(job_id, "token", CHECKPOINT)  # a plan of 20 s
    submit(tracking, 40.0, 20.0)


def test_answers_tell_what_is_left() -> None:
    tracking = Tracking(client_rate=10.0, client_burst=20)
    spec = JobSpec(GenerateRequest(), (1,))
    new = NewJob("a", spec, WORK, Client("ann", audio_seconds_per_day=100.5))
    submits, audio = tracking.take(new).quotas
    assert (submits.name, submits.limit, submits.window) == ("submits", 20, 2)
    assert (submits.left, submits.whole_in) == (19, 1)
    assert (audio.name, audio.limit, audio.window, audio.left) == ("audio", 100, 86400, 90)
    assert audio.whole_in == next_day(tracking.clock.now) - tracking.clock.now
    for number in range(19):
        accepted = tracking.take(NewJob(str(number), spec, WORK.lasting(1), Client("ann")))
    assert [quota.left for quota in accepted.quotas] == [0]
    with pytest.raises(LimitError) as refused:
        tracking.take(NewJob("late", spec, WORK, Client("ann")))
    assert [quota.left for quota in refused.value.quotas] == [0]
    tracking.wait(0.35)
    assert [quota.left for quota in tracking.take(NewJob("b", spec, WORK, Client("ann"))).quotas] == [2]


def test_days_are_those_of_utc() -> None:
    assert day_of(1_764_460_799.9) == "2025-11-29"
    assert day_of(1_764_460_800) == "2025-11-30"
    assert next_day(1_764_460_799.9) == 1_764_460_800
    assert days_before(1_764_460_800, 400) == day_of(1_764_460_800 - 400 * DAY)
