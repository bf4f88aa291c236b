import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytest_asyncio

from configs.settings import LanguageModelSettings
from deployments.language_model.engine import LanguageModelEngine
from deployments.language_model.observer import EngineObserver
from deployments.language_model.text.tokenizer import LMTokenizer
from deployments.tiny_checkpoints.language_model import build


def can_be_looked_through(module: ModuleType) -> bool:
    """Return whether vLLM can read the attributes of everything that a module holds."""
    try:
        for value in list(vars(module).values()):
            if hasattr(value, "__dict__"):
                vars(value).get("kernel")
    except Exception:
        return False
    return True


@pytest.fixture(scope="module", autouse=True)
def modules_of_replicas() -> Iterator[None]:
    """Hide modules that other tests imported into this process and that stop vLLM from starting.

    An engine that starts looks for its kernels in every module. librosa's llvmlite and the object store's
    Flask hold objects that refuse to be inspected. Replicas do not import them.
    """
    hidden = {name: module for name, module in sys.modules.items() if not can_be_looked_through(module)}
    for name in hidden:
        del sys.modules[name]
    yield
    sys.modules.update(hidden)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-lm")
    build(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(checkpoint: Path) -> LMTokenizer:
    return LMTokenizer.from_folder(checkpoint)


class Listener(EngineObserver):
    """Records the calls of the engines."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.guided: list[bool] = []
        """Whether each run is guided."""
        self.tokens = 0
        self.steps: list[tuple[int, int]] = []
        """The (rows, slots) of each step."""

    def began(self, guided: bool) -> None:
        self.guided.append(guided)

    def wrote(self, tokens: int) -> None:
        self.tokens += tokens

    def stepped(self, rows: int, row_slots: int) -> None:
        self.steps.append((rows, row_slots))

    def vllm_stat_loggers(self) -> list[Any]:
        from deployments.language_model.vllm_engine.steps import StepLogger

        return [partial(StepLogger, self)]


@pytest.fixture(scope="session")
def listener() -> Listener:
    return Listener()


# vLLM ends what the engines of one process share when any of them is closed.
@pytest_asyncio.fixture(scope="module")
async def engine(checkpoint: Path, listener: Listener) -> AsyncIterator[LanguageModelEngine]:
    """Start both backends on the tiny checkpoint."""
    engine = LanguageModelEngine(checkpoint, LanguageModelSettings(threads=1), listener)
    await engine.warm_up()
    yield engine
    engine.close()
