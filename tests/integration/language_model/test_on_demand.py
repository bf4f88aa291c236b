"""Only the default backend starts with the replica. Each other one starts when a request names it."""

from dataclasses import replace
from pathlib import Path

import pytest

from configs.settings import LanguageModelSettings
from deployments.common.errors import JobError
from deployments.common.messages import Metadata, PlanRequest, Sampling
from deployments.language_model.engine import LanguageModelEngine

QUESTION = PlanRequest("calm piano", "", "en", Metadata(), True, 30, Sampling(3))


@pytest.mark.parametrize(
    ("first", "second"), [("vllm", "pt"), pytest.param("pt", "vllm", marks=pytest.mark.slow)]
)
async def test_a_backend_is_loaded_when_a_request_names_it(checkpoint: Path, first: str, second: str) -> None:
    engine = LanguageModelEngine(checkpoint, LanguageModelSettings(backends=(first, second), threads=1))
    try:
        await engine.warm_up()
        answer = await engine.plan(replace(QUESTION, backend=first))
        assert list(engine._backends) == [first]
        assert await engine.plan(replace(QUESTION, backend=second)) == answer
        assert list(engine._backends) == [first, second]
        await engine.check_health()
    finally:
        engine.close()


async def test_a_backend_that_is_not_served_is_never_loaded(checkpoint: Path) -> None:
    engine = LanguageModelEngine(checkpoint, LanguageModelSettings(backends=("pt",), threads=1))
    try:
        with pytest.raises(JobError, match="only pt"):
            await engine.plan(replace(QUESTION, backend="vllm"))
        assert list(engine._backends) == ["pt"]
    finally:
        engine.close()
