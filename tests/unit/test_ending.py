"""A replica ends with its engine, so that its callers try elsewhere."""

import os

import pytest

from deployments.common.ending import ending_with_its_engine
from deployments.common.errors import EngineError, JobError


class _EndedError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def end(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(code: int) -> None:
        raise _EndedError(code)

    monkeypatch.setattr(os, "_exit", ended)


async def is_well() -> None:
    pass


async def is_lost() -> None:
    raise RuntimeError("the device is lost")


async def test_it_ends_where_the_engine_cannot_go_on() -> None:
    with pytest.raises(_EndedError):
        async with ending_with_its_engine(is_lost):
            raise EngineError("a call failed")


async def test_it_goes_on_where_one_call_failed() -> None:
    with pytest.raises(EngineError, match="a call failed"):
        async with ending_with_its_engine(is_well):
            raise EngineError("a call failed")


async def test_it_goes_on_where_a_job_was_refused() -> None:
    with pytest.raises(JobError, match="silent"):
        async with ending_with_its_engine(is_lost):
            raise JobError("silent")
