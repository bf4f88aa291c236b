import pytest

from deployments.common.errors import EngineError
from deployments.language_model.backend import StallWatch


def test_an_engine_with_runs_and_no_tokens_is_stalled() -> None:
    now = [0.0]
    watch = StallWatch(limit=10.0, clock=lambda: now[0])
    now[0] = 100.0
    watch.check()
    with watch.running():
        now[0] = 109.0
        watch.check()
        watch.progress()
        now[0] = 118.0
        watch.check()
        now[0] = 120.0
        with pytest.raises(EngineError, match="1 runs got no token for 11 s"):
            watch.check()
    watch.check()
