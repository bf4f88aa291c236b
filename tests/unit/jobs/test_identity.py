"""The id of a job names the store to which it belongs."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from serve_app.jobs.housekeeping.identity import new_job_id, store_name, store_of

SECRETS = st.binary(min_size=32, max_size=32)


@given(SECRETS)
def test_an_id_is_a_uuid_that_names_its_store(secret: bytes) -> None:
    name = store_name(secret)
    job_id = new_job_id(name)
    assert store_of(job_id) == name
    found = uuid.UUID(job_id)
    assert (str(found), found.version, found.variant) == (job_id, 8, uuid.RFC_4122)


@given(SECRETS, SECRETS)
def test_stores_have_names_of_their_own_that_do_not_change(one: bytes, other: bytes) -> None:
    assert (store_name(one) == store_name(other)) is (one == other)


@given(st.uuids(version=4))
def test_an_id_of_an_earlier_release_names_no_store(job_id: uuid.UUID) -> None:
    assert store_of(str(job_id)) is None


def test_no_two_jobs_of_a_store_have_one_id() -> None:
    job_ids = {new_job_id("0123456789ab") for _ in range(10_000)}
    assert len(job_ids) == 10_000
    # All bits that may be random are random: 128 without the name's 48, the version's 4 and the variant's 2.
    numbers = [uuid.UUID(job_id).int for job_id in job_ids]
    changing = 0
    for number in numbers:
        changing |= number ^ numbers[0]
    assert changing.bit_count() == 74


def test_what_is_no_id_names_no_store() -> None:
    for text in ("", "nobody", "0" * 36, new_job_id("0" * 12).upper()):
        assert store_of(text) is None
