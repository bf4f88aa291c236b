"""Schedules that once broke a rule, as small as they got. Each was mended in the code, not in its test.

The exceptions say so: there the simulation was mended.
"""

from tests.simulation.schedule import Fault, Request, Schedule
from tests.simulation.world import run


def test_seed_25_one_job_for_each_idempotency_key() -> None:
    """After a restart three submits looked up their keys at once, and one got the job of another key."""
    schedule = Schedule(
        25,
        requests=(
            Request(client="ann", at=2.77, key="0"),
            Request(client="ann", at=3.77, key="2"),
            Request(client="ann", at=3.84, key="0"),
        ),
        faults=(Fault(kind="crash", at=3.2, seconds=2.92, target="tracker", amount=15.0),),
        runners=1,
    )
    assert run(schedule).violation is None


def test_seed_198_all_jobs_end_after_the_faults() -> None:
    """A callback waited for an hour, because the clock was set back a moment after the end of its job."""
    schedule = Schedule(
        198,
        requests=(Request(client="cy", at=0.22, song_seconds=20.0, thinks=True, has_callback=True),),
        faults=(Fault(kind="clock is set", at=7.59, seconds=1.0, target="tracker", amount=-60894.8),),
        runners=1,
    )
    assert run(schedule).violation is None


def test_seed_152_progress_never_falls() -> None:
    """A second tracker did not know of the progress that a poll of the first one had shown."""
    schedule = Schedule(
        152,
        requests=(
            Request(client="ann", at=1.32, song_seconds=5.0, priority=5, has_recording=True),
            Request(client="cy", at=2.66, song_seconds=5.0, key="2", priority=5, has_recording=True),
            Request(client="ann", at=3.14, key="3"),
            Request(client="ann", at=3.19, items=2, thinks=True, has_recording=True),
            Request(client="ann", at=6.43, key="0", thinks=True),
            Request(client="ann", at=7.09, song_seconds=5.0),
            Request(client="cy", at=10.85, song_seconds=5.0, items=2, key="2"),
            Request(client="cy", at=17.41),
        ),
        faults=(
            Fault(kind="store is full", at=0.51, seconds=1.82),
            Fault(kind="draining", at=0.56, seconds=9.33),
            Fault(kind="paused", at=6.27, seconds=7.18),
            Fault(kind="split", at=12.63, seconds=3.7),
            Fault(kind="stop", at=14.18, seconds=1.71, target="runner 0"),
            Fault(kind="models hang", at=15.27, seconds=1.77, amount=0.28),
            Fault(kind="stop", at=16.96, seconds=2.66, target="runner 2"),
        ),
    )
    assert run(schedule).violation is None


def test_seed_1157_no_process_answers_with_an_older_state() -> None:
    """A tracker that starts raises the progress of running jobs, which readers of the one before do not know.

    The rule was broken: 0eb5cfd7-3a8c-83c4-8fc5-6b02a4fe8518: 0.5, then 0.0.
    """
    schedule = Schedule(
        1157,
        requests=(
            Request(client="bob", at=0.02, song_seconds=20.0, thinks=True),
            Request(client="bob", at=1.33, song_seconds=20.0, key="3", has_recording=True),
            Request(client="ann", at=2.84, key="5", has_recording=True),
            Request(client="ann", at=3.0),
            Request(client="ann", at=3.27, key="5", has_recording=True),
            Request(client="bob", at=3.67, key="3"),
        ),
        faults=(Fault(kind="crash", at=6.41, seconds=0.24, target="tracker", amount=7.0),),
    )
    assert run(schedule).violation is None


def test_seed_2258_published_songs_exist() -> None:
    """The clock was set forward before the first sweep of a tracker, which took it for the time that passed.

    The rule was broken: a song was deleted 3.0 s after its end. The next two schedules are of this kind.
    """
    schedule = Schedule(
        2258,
        requests=(Request(client="ann", at=0.69),),
        faults=(
            Fault(kind="crash", at=1.03, seconds=1.64, target="tracker", amount=35.0),
            Fault(kind="clock is set", at=6.09, seconds=1.78, target="tracker", amount=19.3),
        ),
        runners=1,
        keeps_seconds=20.0,
    )
    assert run(schedule).violation is None


def test_seed_2373_published_songs_exist() -> None:
    schedule = Schedule(
        2373,
        requests=(Request(client="ann", at=0.15),),
        faults=(
            Fault(kind="crash", at=0.98, seconds=0.36, target="tracker", amount=23.0),
            Fault(kind="clock is set", at=3.51, seconds=0.6, target="tracker", amount=3141.5),
        ),
        runners=1,
        keeps_seconds=20.0,
    )
    assert run(schedule).violation is None


def test_seed_3043_published_songs_exist() -> None:
    schedule = Schedule(
        3043,
        requests=(Request(client="bob", at=1.77),),
        faults=(
            Fault(kind="crash", at=2.83, seconds=1.14, target="tracker", amount=9.0),
            Fault(kind="clock is set", at=6.69, seconds=1.66, target="tracker", amount=7021.7),
        ),
        runners=1,
        keeps_seconds=20.0,
    )
    assert run(schedule).violation is None


def test_seed_3278_published_songs_exist() -> None:
    """As in seed 2258, without a restart: a song ended before the first sweep of the first tracker."""
    schedule = Schedule(
        3278,
        requests=(Request(client="ann", at=0.89, song_seconds=5.0),),
        faults=(Fault(kind="clock is set", at=2.96, seconds=0.59, target="tracker", amount=5.4),),
        runners=1,
        keeps_seconds=20.0,
    )
    assert run(schedule).violation is None


def test_seed_2467_renewed_leases_are_kept() -> None:
    """A tracker that starts gave the runners their leases, and then read a slow store for half of them.

    The rule was broken: a lease was lost 3.0 s after the tracker began to hear heartbeats.
    """
    schedule = Schedule(
        2467,
        requests=(Request(client="ann", at=0.37, song_seconds=5.0, has_recording=True),),
        faults=(
            Fault(kind="stop", at=0.17, seconds=13.02, target="tracker"),
            Fault(kind="store is slow", at=13.93, seconds=0.88, amount=1.27),
            Fault(kind="split", at=14.34, seconds=8.66),
        ),
        runners=1,
        keeps_seconds=20.0,
    )
    assert run(schedule).violation is None


def test_seed_5042_published_songs_exist() -> None:
    """The run ended amid a sweep that had deleted expired songs, but not yet written that in their records.

    The mend is in the simulation, which compares files and records at rest only.
    """
    schedule = Schedule(
        5042,
        requests=(
            Request(client="bob", at=0.81, key="1", has_recording=True),
            Request(client="bob", at=1.26, has_recording=True, has_callback=True),
            Request(client="bob", at=2.17, items=2, has_recording=True),
            Request(client="bob", at=3.01, song_seconds=5.0, has_recording=True),
            Request(client="bob", at=3.32, key="1", has_recording=True),
            Request(client="bob", at=7.88),
            Request(client="bob", at=12.17),
        ),
        faults=(
            Fault(kind="split", at=4.16, seconds=2.3),
            Fault(kind="crash", at=14.37, seconds=7.27, target="tracker", amount=57.0),
        ),
        runners=3,
        loops=2,
        keeps_seconds=20.0,
    )
    assert run(schedule).violation is None


def test_seed_7407_only_durable_ends_are_called_back() -> None:
    """A job ended while a check of callbacks waited for an earlier write, and was called back at once.

    The rule was broken: the record of a job said running when its callback told of its success.
    """
    schedule = Schedule(
        7407,
        requests=(
            Request(client="cy", at=1.55, key="3", has_callback=True),
            Request(client="bob", at=3.25),
            Request(client="bob", at=3.37, key="4"),
        ),
        faults=(
            Fault(kind="store is slow", at=0.71, seconds=5.79, amount=0.85),
            Fault(kind="store is full", at=5.58, seconds=0.49),
        ),
        runners=1,
    )
    assert run(schedule).violation is None


def test_seed_7685_progress_never_falls() -> None:
    """A second tracker could not know of progress that the first one had shown from memory.

    The store was full, so polls were answered from memory, as documented. The mend is in the rule.
    """
    schedule = Schedule(
        7685,
        requests=(
            Request(client="cy", at=3.48, song_seconds=20.0, items=2, key="5"),
            Request(client="cy", at=3.72, key="5"),
        ),
        faults=(
            Fault(kind="store is full", at=6.55, seconds=7.82),
            Fault(kind="split", at=12.04, seconds=3.08),
        ),
    )
    assert run(schedule).violation is None


def test_seed_8198_jobs_end_once() -> None:
    """A connection believed that it had taken the store over with a write that the store's crash took back.

    So two trackers owned the store. The real stores learn that they own it from the answer to the write, and
    so does the simulated one now.
    """
    schedule = Schedule(
        8198,
        requests=(
            Request(client="bob", at=2.18, has_callback=True),
            Request(client="bob", at=4.93, items=2, thinks=True),
        ),
        faults=(
            Fault(kind="crash", at=8.2, seconds=2.45, target="tracker", amount=17.0),
            Fault(kind="store crashes", at=8.35, seconds=3.89),
            Fault(kind="store is full", at=9.01, seconds=6.58),
            Fault(kind="split", at=17.54, seconds=5.46),
        ),
        runners=3,
    )
    assert run(schedule).violation is None


def test_seed_103460_recordings_are_there_for_their_job() -> None:
    """A stopped runner lost its attempt, and looked for the recording after the job had ended elsewhere.

    That harms nobody, so the rule leaves out jobs that have ended.
    """
    schedule = Schedule(
        103460,
        requests=(
            Request(client="ann", at=2.94, has_recording=True),
            Request(client="ann", at=3.38, song_seconds=5.0),
        ),
        faults=(
            Fault(kind="disk is full", at=5.6, seconds=1.67),
            Fault(kind="stop", at=8.19, seconds=14.1, target="runner 0"),
        ),
        keeps_seconds=20.0,
    )
    assert run(schedule).violation is None


def test_seed_101998_clients_get_fair_shares() -> None:
    """After one client's last queued job was cancelled, the other client's next job counted as its share."""
    schedule = Schedule(
        101998,
        requests=(
            Request(client="cy", at=0.05, song_seconds=20.0),
            Request(client="cy", at=1.17),
            Request(client="cy", at=1.71, song_seconds=20.0, items=2),
            Request(client="cy", at=2.39, priority=5),
            Request(client="ann", at=2.55),
            Request(client="ann", at=4.57),
            Request(client="ann", at=11.03, cancel_after=13.61),
            Request(client="cy", at=11.92, priority=5),
            Request(client="cy", at=15.3, song_seconds=20.0, items=2),
        ),
        faults=(),
        runners=1,
        keeps_seconds=20.0,
    )
    assert run(schedule).violation is None


def test_seed_202870_all_jobs_end_after_the_faults() -> None:
    """A tracker that started on a full store wrote nothing, and never read a job that the first one accepted.

    Its client got StoreError for ever. The next schedule is of this kind.
    """
    schedule = Schedule(
        202870,
        requests=(Request(client="cy", at=12.47),),
        faults=(
            Fault(kind="store is full", at=6.53, seconds=10.03),
            Fault(kind="stop", at=10.31, seconds=2.77, target="cy"),
            Fault(kind="split", at=12.61, seconds=8.95),
        ),
        runners=1,
    )
    assert run(schedule).violation is None


def test_seed_203398_all_jobs_end_after_the_faults() -> None:
    schedule = Schedule(
        203398,
        requests=(
            Request(client="ann", at=3.4, has_callback=True),
            Request(client="bob", at=5.05, song_seconds=20.0, has_callback=True),
            Request(client="bob", at=16.86, has_recording=True),
        ),
        faults=(
            Fault(kind="draining", at=7.8, seconds=0.28),
            Fault(kind="store is full", at=15.96, seconds=0.94),
            Fault(kind="split", at=16.87, seconds=2.14),
        ),
        loops=2,
    )
    assert run(schedule).violation is None


def test_seed_201742_nothing_is_left_in_the_storage() -> None:
    """A tracker that had lost its store went on renewing the lease of a job that the other one had cancelled.

    So the runner wrote a song after the files of the job had been deleted, and died before it deleted it.
    """
    schedule = Schedule(
        201742,
        requests=(
            Request(client="cy", at=1.16, song_seconds=5.0, has_recording=True),
            Request(client="ann", at=1.71, song_seconds=20.0, priority=5),
            Request(client="ann", at=1.93, song_seconds=5.0, items=2, thinks=True),
            Request(client="cy", at=2.4),
            Request(client="cy", at=8.73, song_seconds=20.0, items=2, priority=5, cancel_after=6.01),
            Request(client="cy", at=10.01),
        ),
        faults=(
            Fault(kind="crash", at=11.58, seconds=0.48, target="runner 0", amount=55.0),
            Fault(kind="split", at=13.2, seconds=8.56),
        ),
        runners=1,
        keeps_seconds=20.0,
    )
    assert run(schedule).violation is None


def test_seed_100998_published_songs_exist() -> None:
    """A tracker deleted an expired song, and could not write that because another one had written meanwhile.

    The run ended before its next sweep, which writes it. The mend is in the simulation, which waits for that.
    """
    schedule = Schedule(
        100998,
        requests=(
            Request(client="cy", at=0.44, thinks=True, has_callback=True),
            Request(client="ann", at=0.64, song_seconds=5.0, cancel_after=13.19),
            Request(client="ann", at=4.0, song_seconds=5.0, cancel_after=6.59),
            Request(client="cy", at=7.28, thinks=True),
            Request(client="cy", at=7.82, has_callback=True, cancel_after=2.46),
        ),
        faults=(
            Fault(kind="store loses answers", at=1.95, seconds=2.72, amount=0.79),
            Fault(kind="split", at=8.37, seconds=4.05),
            Fault(kind="store is full", at=16.02, seconds=1.92),
            Fault(kind="split", at=17.78, seconds=5.22),
        ),
        runners=1,
        keeps_seconds=20.0,
    )
    assert run(schedule).violation is None


def test_seed_1719_all_jobs_end_after_the_faults() -> None:
    """A tracker that started after the clock was set back waited an hour before it repeated a callback."""
    schedule = Schedule(
        1719,
        requests=(Request(client="ann", at=4.99, song_seconds=5.0, has_callback=True),),
        faults=(
            Fault(kind="receivers fail", at=6.3, seconds=1.09, amount=0.67),
            Fault(kind="clock is set", at=10.79, seconds=9.26, target="tracker", amount=-11074.6),
            Fault(kind="crash", at=11.08, seconds=0.29, target="tracker", amount=7.0),
        ),
        runners=1,
    )
    assert run(schedule).violation is None


def test_seed_4747_no_process_answers_with_an_older_state() -> None:
    """A tracker that started showed an end at once that readers of the one before had not heard of."""
    schedule = Schedule(
        4747,
        requests=(
            Request(client="bob", at=1.73, has_recording=True),
            Request(client="bob", at=2.08, song_seconds=20.0, key="0", thinks=True),
            Request(client="bob", at=2.41, has_recording=True),
            Request(client="cy", at=4.57, thinks=True),
            Request(client="bob", at=11.45, key="0"),
        ),
        faults=(
            Fault(kind="store crashes", at=0.83, seconds=0.54),
            Fault(kind="repeating network", at=9.67, seconds=0.73, amount=0.42),
            Fault(kind="crash", at=10.13, seconds=0.48, target="tracker", amount=23.0),
        ),
    )
    assert run(schedule).violation is None


def test_seed_67278_progress_never_falls() -> None:
    """A client that waited for news was told of a read that had begun before it came.

    The read was made for another client, which had left meanwhile. The one that was told had already seen
    more progress.
    """
    schedule = Schedule(
        67278,
        requests=(
            Request(client="cy", at=1.9, has_recording=True, has_callback=True),
            Request(client="cy", at=2.41, song_seconds=20.0, key="5", thinks=True),
            Request(client="cy", at=2.82, key="5", has_recording=True),
            Request(client="cy", at=12.62),
            Request(client="cy", at=13.24),
        ),
        faults=(
            Fault(kind="store loses answers", at=0.58, seconds=2.31, amount=0.99),
            Fault(kind="store crashes", at=3.64, seconds=1.45),
            Fault(kind="slow network", at=3.89, seconds=11.41, amount=1.08),
            Fault(kind="stop", at=10.14, seconds=10.22, target="tracker"),
            Fault(kind="split", at=11.33, seconds=11.67),
        ),
        runners=3,
    )
    assert run(schedule).violation is None


def test_seed_17811_published_songs_exist() -> None:
    """Two trackers ended a job, and the age of its song was counted from the end that was never written.

    The mend is in the rule, which counts from the end that became durable.
    """
    schedule = Schedule(
        17811,
        requests=(Request(client="cy", at=0.09),),
        faults=(
            Fault(kind="store is full", at=2.18, seconds=5.84),
            Fault(kind="split", at=6.38, seconds=2.86),
        ),
        runners=1,
        keeps_seconds=20.0,
    )
    assert run(schedule).violation is None


def test_seed_69945_published_songs_exist() -> None:
    """A sweep deleted an expired song while a write was under way that still named it in its record.

    The next write corrects that, or the next sweep, as the contract says. The mend is in the rule, which
    leaves out songs that were deleted when their time was over.
    """
    schedule = Schedule(
        69945,
        requests=(
            Request(client="bob", at=0.81),
            Request(client="bob", at=1.1, thinks=True, cancel_after=10.66),
            Request(client="cy", at=3.58),
        ),
        faults=(
            Fault(kind="stop", at=3.01, seconds=11.0, target="tracker"),
            Fault(kind="store loses answers", at=12.0, seconds=2.46, amount=0.82),
            Fault(kind="store crashes", at=14.82, seconds=8.03),
        ),
        runners=1,
        loops=2,
        keeps_seconds=20.0,
    )
    assert run(schedule).violation is None


def test_seed_68124_no_process_answers_with_an_older_state() -> None:
    """A cancellation was confirmed after the tracker had lost it, because it had read the store again.

    The call waited for the readers of the tracker before. Such a call fails now, and its caller repeats it.
    The tracker had started on a full store, and read it again because it took a write of its own, whose
    answer was lost, for one of another tracker. That is mended as well, in the simulated store and in Redis.
    """
    schedule = Schedule(
        68124,
        requests=(
            Request(client="bob", at=0.93),
            Request(client="bob", at=1.2, items=2),
            Request(client="bob", at=2.76, cancel_after=10.68),
            Request(client="bob", at=13.06),
        ),
        faults=(
            Fault(kind="crash", at=5.98, seconds=12.17, target="tracker", amount=1.0),
            Fault(kind="store loses answers", at=12.46, seconds=6.82, amount=0.99),
            Fault(kind="store is full", at=17.95, seconds=0.32),
        ),
    )
    assert run(schedule).violation is None


def test_seed_21_progress_never_falls() -> None:
    """A second tracker showed progress from memory while the store was full, and the first one wrote then.

    So the second one read the store again. The contract says that such progress may be lost. The mend is in
    the rule.
    """
    schedule = Schedule(
        21,
        requests=(Request(client="ann", at=2.6, song_seconds=20.0),),
        faults=(
            Fault(kind="store is full", at=3.23, seconds=5.5),
            Fault(kind="split", at=3.32, seconds=7.84),
        ),
    )
    assert run(schedule).violation is None


def test_seed_98161_published_songs_exist() -> None:
    """A clock was set back, and forward again after a job ended; a tracker began before the next sweep.

    The rule was broken: a song was deleted 4.8 s after its end. The new tracker did not know that the clock
    had been set back.
    """
    schedule = Schedule(
        98161,
        requests=(Request(client="ann", at=0.5, thinks=True),),
        faults=(
            Fault(kind="clock is set", at=3.92, seconds=1.63, target="tracker", amount=-321.6),
            Fault(kind="clock is set", at=4.77, seconds=0.83, target="tracker", amount=3096.0),
            Fault(kind="split", at=5.76, seconds=0.46),
        ),
        keeps_seconds=20.0,
    )
    assert run(schedule).violation is None
