from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from configs.settings import LanguageModelSettings
from deployments.checkpoints.tiny_language_model import build
from deployments.language_model.engine import LanguageModelEngine
from deployments.language_model.tokenizer import LMTokenizer


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-lm")
    build(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(checkpoint: Path) -> LMTokenizer:
    return LMTokenizer.from_folder(checkpoint)


@pytest_asyncio.fixture(scope="session")
async def engine(checkpoint: Path) -> AsyncIterator[LanguageModelEngine]:
    """Both backends on the tiny checkpoint."""
    engine = LanguageModelEngine(checkpoint, LanguageModelSettings(threads=1))
    await engine.warm_up()
    yield engine
    engine.close()
