from deployments.common.messages import Progress
from serve_app.jobs.progress import STAGE_SHARES, JobProgress


def test_shares_of_the_stages_make_a_whole() -> None:
    assert sum(STAGE_SHARES.values()) == 1.0


def test_the_slowest_item_names_the_stage_and_the_mean_is_the_fraction() -> None:
    progress = JobProgress(2)
    progress.enter("denoising")
    progress.update(0, Progress("decoding", 0, 1))
    progress.update(1, Progress("denoising", 4, 8))
    assert progress.stage == "denoising"
    assert round(progress.fraction, 4) == round((0.75 + 0.4 + 0.35 / 2) / 2, 4)
    progress.update(0, Progress("denoising", 2, 8))
    assert progress.steps == (2, 8)


def test_progress_never_goes_back_over_a_job() -> None:
    progress = JobProgress(1)
    seen = [0.0]
    for stage in STAGE_SHARES:
        for done in range(4):
            # The middle of a stage is reported again, as by another call of the same stage.
            progress.enter(stage)
            progress.update(0, Progress(stage, done, 3))
            seen.append(round(progress.fraction, 9))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_a_new_stage_is_announced_once() -> None:
    progress = JobProgress(1)
    assert not progress.stage_changed.is_set()
    progress.enter("composing")
    assert progress.stage_changed.is_set()
    progress.stage_changed.clear()
    progress.update(0, Progress("composing", 1, 2))
    assert not progress.stage_changed.is_set()
