"""The client that is made from `TrackerApi`."""

from typing import Any

import pytest

from serve_app.jobs.client import FORMER_NAMES
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


def test_the_tracker_has_every_method_and_former_names_lead_to_one() -> None:
    assert all(callable(getattr(DurableTracker, method)) for method in METHODS)
    assert {*FORMER_NAMES.values()} <= {*METHODS}
    assert not {*FORMER_NAMES} & {*METHODS}
