"""The client that is made from `TrackerApi`."""

import inspect
from typing import Any

import pytest

from serve_app.jobs.client import FORMER_CALLS
from serve_app.jobs.durable_tracker import DurableTracker
from serve_app.jobs.tracker_api import METHODS, client_over


async def test_a_client_sends_the_name_and_the_arguments_of_each_method() -> None:
    async def call(method: str, *arguments: Any) -> Any:
        return method, arguments

    client = client_over(call)
    assert await client.wait("job", "version", 1.0) == ("wait", ("job", "version", 1.0))
    assert await client.stats() == ("stats", ())
    with pytest.raises(AttributeError):
        client.close()


FORMER_ARGUMENTS = {"left": ("job",), "wait_stage": ("job", "queued", "queued", 30.0)}


def test_the_tracker_has_every_method() -> None:
    assert all(callable(getattr(DurableTracker, method)) for method in METHODS)


@pytest.mark.parametrize("former", FORMER_CALLS)
def test_a_call_of_an_earlier_release_becomes_one_of_this_release(former: str) -> None:
    method, arguments = FORMER_CALLS[former](*FORMER_ARGUMENTS[former])
    assert method in METHODS
    assert former not in METHODS
    inspect.signature(getattr(DurableTracker, method)).bind(None, *arguments)
