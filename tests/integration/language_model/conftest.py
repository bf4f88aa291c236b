from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from configs.settings import LanguageModelSettings
from deployments.checkpoints.tiny_language_model import build
from deployments.language_model.engine import LanguageModelEngine
from deployments.language_model.observer import EngineObserver
from deployments.language_model.tokenizer import LMTokenizer


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-lm")
    build(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(checkpoint: Path) -> LMTokenizer:
    return LMTokenizer.from_folder(checkpoint)


class Listener(EngineObserver):
    """Writes down what the engines tell."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.guided: list[bool] = []
        """Of each run."""
        self.tokens = 0
        self.steps: list[tuple[int, int]] = []
        """Rows and slots."""

    def began(self, guided: bool) -> None:
        self.guided.append(guided)

    def wrote(self, tokens: int) -> None:
        self.tokens += tokens

    def stepped(self, rows: int, row_slots: int) -> None:
        self.steps.append((rows, row_slots))

    def vllm_stat_loggers(self) -> list[Any]:
        from deployments.language_model.vllm_steps import StepLogger

        return [partial(StepLogger, self)]


@pytest.fixture(scope="session")
def listener() -> Listener:
    return Listener()


@pytest_asyncio.fixture(scope="module")  # vLLM ends what engines of one process share with any one of them
async def engine(checkpoint: Path, listener: Listener) -> AsyncIterator[LanguageModelEngine]:
    """Both backends on the tiny checkpoint."""
    engine = LanguageModelEngine(checkpoint, LanguageModelSettings(threads=1), listener)
    await engine.warm_up()
    yield engine
    engine.close()
