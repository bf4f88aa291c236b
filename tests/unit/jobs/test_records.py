"""A job that is read back equals the job that was written."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.domain import Task
from deployments.common.messages import Metadata
from serve_app.jobs.model import Callback, Checkpoint, IdempotencyKey, Job, JobState, Place, Steps
from serve_app.jobs.storing.records import UPGRADES, job_from_json, parts_to_json, record_to_json
from serve_app.jobs.storing.store import StoreError
from serve_app.request.repainting import RepaintSpan
from serve_app.request.schemas import GenerateRequest
from serve_app.request.song_plan import SongPlan
from serve_app.request.spec import JobSpec, Recording
from serve_app.request.work import Work
from tests.job_records import a_job

finite = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**53)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
# A request may hold any text without NUL and without half of a surrogate pair.
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
shares = st.floats(0, 1)
codes = st.lists(st.integers(0, 63_999), max_size=5).map(tuple)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | finite | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)

requests = st.builds(
    GenerateRequest,
    caption=words,
    lyrics=words,
    thinking=st.booleans(),
    vocal_language=st.sampled_from(["en", "yue", "zh-CN"]),
    bpm=st.none() | st.integers(30, 300),
    key_scale=st.sampled_from(["", "C# minor", "B♭ dorian", " Ab Major "]),
    time_signature=st.sampled_from(["", "4", "6/8", "15/16", 3]),
    audio_duration=st.none() | st.floats(0.1, 600),
    audio_code_string=st.sampled_from(["", "1,2", ("1,2", "<|audio_code_3|>"), ("", "[]")]),
    guidance_scale=st.floats(0, 30),
    use_random_seed=st.sampled_from([True, False, "yes", "0"]),
    seed=st.sampled_from([-1, 0, "7", "1,2,-1", 2**32 - 1]),
    batch_size=st.none() | st.integers(1, 64),
    lm_model_path=st.none() | words,
    lm_cfg_scale=st.floats(-3, 20),
    lm_top_k=st.none() | st.integers(0, 64_000),
    lm_top_p=st.floats(0.01, 2),
    src_audio_path=st.none() | words,
    task_type=st.sampled_from(Task),
    repainting_start=finite,
    repainting_end=st.none() | st.just(-1.0) | st.floats(0, 1e6),
    shift=st.none() | st.floats(1, 5),
    timesteps=st.sampled_from([None, (1.0, 0.5, 0.0), "0.97,0.3", [1, 0.1]]),
    cfg_interval_start=st.just(0.1) | st.just(0.0),
    track_classes=st.sampled_from([(), "drums|Bass", ["Backing vocals"]]) | st.just(("drums", "drums")),
)
specs = st.builds(
    JobSpec,
    requests,
    seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3).map(tuple),
    codes=st.lists(codes, max_size=2).map(tuple),
    source=st.none() | st.builds(Recording, texts, finite),
    dit=st.none() | texts,
    notes=st.lists(texts, max_size=2).map(tuple),
)
plans = st.builds(
    SongPlan,
    task=st.sampled_from(Task),
    metadata=st.builds(
        Metadata, st.none() | st.integers(0, 999), st.none() | texts, st.none() | texts, st.none() | finite
    ),
    durations=st.lists(finite, max_size=3).map(tuple),
    span=st.none() | st.builds(RepaintSpan, finite, finite, finite, finite),
    lm_answered=st.booleans(),
    notes=st.lists(texts, max_size=2).map(tuple),
)
jobs = st.builds(
    Job,
    job_id=texts,
    spec=specs,
    work=st.builds(
        Work,
        counts,
        st.tuples(*[finite] * 5),
        st.tuples(*[finite] * 5),
        models=st.dictionaries(texts, st.tuples(*[finite] * 3), max_size=2),
    ),
    place=st.builds(Place, st.integers(-9, 0), finite, counts, finite),
    created_at=finite,
    client=texts,
    uploaded_bytes=counts,
    idempotency=st.none() | st.builds(IdempotencyKey, texts, texts),
    state=st.sampled_from(JobState),
    progress=shares,
    best_progress=shares,
    steps=st.none() | st.builds(Steps, counts, counts),
    started_at=st.none() | finite,
    finished_at=st.none() | finite,
    attempt=st.integers(0, 9),
    lease_token=st.none() | texts,
    checkpoint=st.builds(
        Checkpoint,
        st.none() | plans,
        st.none() | st.lists(st.none() | codes, max_size=3).map(tuple),
        st.dictionaries(texts, finite, max_size=3),
    ),
    result=st.none() | st.dictionaries(texts, json_values, max_size=4),
    error=st.none() | texts,
    files=st.lists(texts, max_size=3).map(tuple),
    file_bytes=counts,
    tidy_at=st.none() | finite,
    callback=st.none() | st.builds(Callback, finite, counts),
    traceparent=st.none() | texts,
    queued_at=st.none() | finite,
    claimed_at=st.none() | finite,
    submitted_at=st.none() | finite,
)


def kinds(value: Any) -> Any:
    """Return the value with the types of all its parts, because plain equality takes 1 for 1.0 and True."""
    if is_dataclass(value):
        return type(value), [kinds(getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, GenerateRequest):
        return type(value), [kinds(getattr(value, name)) for name in GenerateRequest.model_fields]
    if isinstance(value, dict):
        return {name: kinds(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [kinds(entry) for entry in value]
    return type(value), repr(value)


@settings(max_examples=100, deadline=None)
@given(jobs)
def test_a_job_read_back_is_the_same_to_the_last_digit(job: Job) -> None:
    assert kinds(job_from_json(record_to_json(job), parts_to_json(job))) == kinds(job)


def test_an_older_record_is_brought_up_to_date_one_layout_after_the_other() -> None:
    written, parts = record_to_json(a_job(1)), parts_to_json(a_job(1))

    def renamed(job: dict[str, Any]) -> dict[str, Any]:
        return {**job, "stage": "renamed"}

    def appended(job: dict[str, Any]) -> dict[str, Any]:
        return {**job, "stage": job["stage"] + " and appended"}

    upgrades = (*UPGRADES, renamed, appended)
    assert job_from_json(written, parts, upgrades) == a_job(1, stage="renamed and appended")
    assert job_from_json(record_to_json(a_job(1), upgrades), parts, upgrades) == a_job(1)


def test_the_record_of_a_later_release_is_refused_with_what_to_do() -> None:
    later = record_to_json(a_job(7), upgrades=(*UPGRADES, lambda job: job))
    with pytest.raises(StoreError, match=r"job-7 has version 3, .* run the release that wrote it"):
        job_from_json(later)


@pytest.mark.parametrize(
    "record", ["", "{", "null", '{"version": 1}', '{"version": 1, "job": {"job_id": 5}}']
)
def test_a_damaged_record_is_a_store_error(record: str) -> None:
    with pytest.raises(StoreError, match="can't be read"):
        job_from_json(record)


def test_a_job_that_json_cannot_hold_is_a_store_error_that_names_it() -> None:
    with pytest.raises(StoreError, match="job job-1 can't be written"):
        parts_to_json(a_job(1, result={"thing": object()}))


def test_a_change_of_state_writes_neither_specification_nor_checkpoint_nor_result() -> None:
    large = a_job(1, spec=JobSpec(GenerateRequest(lyrics="la " * 1000), seeds=(1,)))
    codes = Checkpoint(codes=(tuple(range(3000)),))
    lives = [
        large,
        large.with_(checkpoint=codes),
        large.with_(result={"audio_codes": "<|audio_code_1|>" * 3000}),
    ]
    sizes = {len(record_to_json(job)) for job in lives}
    assert len(sizes) == 1
    assert sizes.pop() < len(parts_to_json(large)["spec"] or "") / 2


def test_parts_that_a_job_does_not_have_are_not_written() -> None:
    assert parts_to_json(a_job(1), ["checkpoint", "result"]) == {"checkpoint": None, "result": None}
    empty = a_job(1, result={})
    assert job_from_json(record_to_json(empty), parts_to_json(empty)) == empty


def test_a_changed_copy_is_a_record_of_its_own_and_knows_its_fields() -> None:
    job = a_job(1)
    changed = job.with_(stage="denoising", progress=0.5)
    assert changed == replace(job, stage="denoising", progress=0.5)
    assert job.stage == "queued"
    with pytest.raises(TypeError, match="a job has no stages"):
        job.with_(stages="denoising")
