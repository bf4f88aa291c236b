"""A client who submits and cancels repeatedly occupies neither replicas nor room."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.serve._private.common import DeploymentID

from serve_app.autoscaling import ScaleByWork
from serve_app.jobs.ended import TRIM_AFTER
from serve_app.jobs.errors import IdempotencyConflictError
from serve_app.jobs.model import Client, IdempotencyKey, JobState, NewJob
from serve_app.jobs.storing.store import MemoryJobStore
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec
from tests.housekeeping import Housekeeping
from tests.job_tracking import WORK, Tracking

GENERATOR = DeploymentID("Generator", "acestep")


def test_what_is_cancelled_is_taken_back_out_of_the_demand() -> None:
    """It is all work of a waiting job, the rest of a running one, and none from before a restart."""
    tracking = Tracking()
    old, _ = tracking.submit(), tracking.submit()
    tracking.restart()
    tracking.tracker.cancel(old)
    runs = tracking.tracker.claim("of the old job")
    assert runs is not None
    nothing = dict.fromkeys(tracking.tracker.demand()["withdrawn"], 0.0)
    assert tracking.tracker.demand()["withdrawn"] == nothing
    waits, starts = tracking.submit(), tracking.submit()
    submitted = tracking.tracker.demand()["submitted"]
    tracking.tracker.cancel(waits)
    tracking.tracker.cancel(waits)
    assert tracking.tracker.demand()["withdrawn"] == {stage: units / 2 for stage, units in submitted.items()}
    claim = tracking.tracker.claim("token")
    assert claim is not None
    assert claim.job.job_id == starts
    assert tracking.tracker.heartbeat(starts, "token", "decoding", 0.9)
    tracking.tracker.cancel(starts)
    demand = tracking.tracker.demand()
    assert demand["withdrawn"]["decoding"] == submitted["decoding"]
    assert demand["withdrawn"]["denoising"] == submitted["denoising"] / 2


PRIVATE = {"caption": "a secret wish", "lyrics": "for nobody's eyes"}


@pytest.mark.parametrize("ended", ["succeeded", "cancelled", "cancelled while it ran", "failed"])
def test_what_a_job_asked_for_is_forgotten_when_it_ends_but_where_it_may_run_again(ended: str) -> None:
    tracking = Tracking(store=MemoryJobStore())
    request = GenerateRequest(**PRIVATE, audio_format="flac", callback_url="https://example.org/")
    spec = JobSpec(request, seeds=(1, 2), codes=((1, 2), (3, 4)), notes=("a note",))
    key = IdempotencyKey("mine", "fingerprint")
    new = NewJob("a-job", spec, WORK, Client("ann"), idempotency=key)
    tracking.tracker.submit(new)
    if ended != "cancelled":
        assert tracking.tracker.claim("token") is not None
    if ended == "succeeded":
        assert tracking.tracker.finish("a-job", "token", {"timings": {}}, ("memory://song",), 1000)
    elif ended == "failed":
        assert tracking.tracker.fail("a-job", "token", "It failed.", retryable=False)
    else:
        tracking.tracker.cancel("a-job")
    tracking.flush()
    for job in (tracking.store.get("a-job"), *tracking.tracker.ended.callbacks_due()):
        assert job is not None
        text = repr(job)
        assert all(words in text for words in PRIVATE.values()) is (ended == "failed")
        assert job.spec.codes == (((1, 2), (3, 4)) if ended == "failed" else ())
        assert job.spec.request.callback_url == "https://example.org/"
    # The promises to clients still hold.
    view = tracking.tracker.view("a-job")
    assert view is not None
    assert (view.audio_format, view.state) == ("flac", ended.split()[0])
    assert tracking.take(replace(new, job_id="another")).job_id == "a-job"
    with pytest.raises(IdempotencyConflictError):
        tracking.take(replace(new, job_id="another", idempotency=replace(key, fingerprint="other")))


def test_submitting_and_cancelling_wants_no_replicas() -> None:
    def replicas(cancels: bool) -> int:
        tracking = Tracking()
        policy = ScaleByWork({"Generator": 100.0}, drain_seconds=30.0, rate_seconds=60.0)
        context = SimpleNamespace(
            current_time=0.0,
            target_num_replicas=1,
            capacity_adjusted_min_replicas=1,
            capacity_adjusted_max_replicas=100,
        )
        wanted = 0
        for second in range(120):
            tracking.clock.now += 1.0
            context.current_time = float(second)
            for _ in range(10):
                job_id = tracking.submit()
                if cancels:
                    tracking.tracker.cancel(job_id)
                else:
                    tracking.run_next(0.1)
            policy.observe(tracking.tracker.demand(), context.current_time)
            (wanted,) = policy.decide({GENERATOR: context}).values()
        return wanted

    assert replicas(cancels=False) > 8
    assert replicas(cancels=True) == 1


async def test_of_a_client_s_cancelled_jobs_only_the_newest_are_kept(tmp_path: Path) -> None:
    house = Housekeeping(tmp_path, client_cancelled=50)
    done = house.finish("bob")
    kept = [house.submit("ann") for _ in range(3)]
    others = [cancelled(house, "bob") for _ in range(3)]
    newest = []
    for _ in range(5):
        newest += [cancelled(house, "ann") for _ in range(TRIM_AFTER)]
        await house.sweep()
        await house.sweep()
    counts = Counter(job.state for job in house.journal.store.page("ann", None, 10**9, 10**6))
    assert counts == {JobState.QUEUED: 3, JobState.CANCELLED: 50}
    assert [house.state(job_id) for job_id in newest[-50:]] == [JobState.CANCELLED] * 50
    assert [house.state(job_id) for job_id in others] == [JobState.CANCELLED] * 3
    assert [house.state(job_id) for job_id in kept] == [JobState.QUEUED] * 3
    assert house.state(done) is JobState.SUCCEEDED
    assert house.tracker.stats().jobs["cancelled"] == 53


def cancelled(house: Housekeeping, client: str) -> str:
    job_id = house.submit(client)
    house.tracker.cancel(job_id)
    return job_id
