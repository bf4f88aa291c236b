import os

import pytest

from configs.settings import LanguageModelSettings
from deployments.errors import EngineError
from deployments.language_model.backend import StallWatch, thread_count


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


def test_engines_use_every_core_unless_told_otherwise() -> None:
    assert thread_count(LanguageModelSettings()) == len(os.sched_getaffinity(0))
    assert thread_count(LanguageModelSettings(threads=3)) == 3
