from deployments.common.stall_watch import StallWatch


def test_time_without_progress_counts_while_something_runs() -> None:
    now = [0.0]
    watch = StallWatch(clock=lambda: now[0])
    now[0] = 100.0
    assert (watch.runs, watch.silent_seconds) == (0, 0.0)
    with watch.running():
        now[0] = 109.0
        assert (watch.runs, watch.silent_seconds) == (1, 9.0)
        watch.progress()
        now[0] = 118.0
        with watch.running():  # A second run does not restart the time.
            assert (watch.runs, watch.silent_seconds) == (2, 9.0)
    assert (watch.runs, watch.silent_seconds) == (0, 0.0)
