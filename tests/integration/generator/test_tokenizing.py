"""The audio codes of recordings: how exactly codes come back from the sound that they describe."""

import numpy as np
import pytest
import torch

from configs.domain import CODE_COUNT
from configs.settings import GeneratorSettings, ModelSettings, Settings
from deployments.checkpoints.loading import load_dit
from deployments.checkpoints.location import EMBEDDED, checkpoint_folder
from deployments.common.messages import TokenizeRequest, Window
from deployments.generator.deployment import Generator
from deployments.generator.tasks import TaskContexts
from tests.exact_tokenizer import make_exact
from tests.latents import HeldLatents
from tests.watched_engine import noise

CODES = 300


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    return ModelSettings(source="random", folder=tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def generator(models: ModelSettings) -> Generator:
    settings = Settings(models=models, generator=GeneratorSettings(threads=1))
    return Generator.func_or_class(settings, models.dits[0])  # Serve runs this class in a replica.


@pytest.mark.parametrize(("frames", "codes"), [(150, 30), (151, 31), (3, 1)])
async def test_a_recording_has_a_code_for_each_five_frames(
    generator: Generator, frames: int, codes: int
) -> None:
    heard = (await generator.tokenize(TokenizeRequest(HeldLatents(noise(frames, seed=1))))).codes
    assert len(heard) == codes
    assert all(0 <= code < CODE_COUNT for code in heard)
    assert len(set(heard)) > 1 or codes == 1


async def test_only_the_window_is_heard(generator: Generator) -> None:
    latents = noise(150, seed=1)
    whole, inside = HeldLatents(latents), HeldLatents(latents[25:75])
    part = await generator.tokenize(TokenizeRequest(whole, Window(25, 75)))
    assert part == await generator.tokenize(TokenizeRequest(inside))
    assert part.codes == (await generator.tokenize(TokenizeRequest(whole))).codes[5:15]
    end = await generator.tokenize(TokenizeRequest(whole, Window(100, 200)))
    assert end == await generator.tokenize(TokenizeRequest(whole, Window(100, 150)))


def test_codes_come_back_from_their_latents_where_the_tokenizer_is_exact(models: ModelSettings) -> None:
    modules = load_dit(checkpoint_folder(models, models.dits[0]), "cpu", torch.float32)
    make_exact(modules)
    contexts = TaskContexts(modules)
    codes = tuple(np.random.default_rng(3).permutation(CODE_COUNT)[:2_000].tolist())
    with torch.inference_mode():
        latents = contexts.latents_of(codes).numpy()
        assert latents.shape[0] == 5 * len(codes)
        assert contexts.codes_of(latents) == codes


def test_codes_of_the_embedded_model_come_back_from_their_latents(capsys: pytest.CaptureFixture[str]) -> None:
    """Its tokenizer is not exact, but far from chance, which is one in 64,000."""
    latents = np.random.default_rng(2)
    contexts = TaskContexts(load_dit(EMBEDDED / "acestep-v15-turbo", "cpu", torch.float32))
    with torch.inference_mode():
        codes = contexts.codes_of(latents.standard_normal((5 * CODES, contexts.channels)).astype(np.float32))
        shares = []
        for _ in range(3):
            again = contexts.codes_of(contexts.latents_of(codes).numpy())
            shares.append(float(np.mean([one == other for one, other in zip(codes, again, strict=True)])))
            codes = again
    with capsys.disabled():
        told = ", ".join(f"{share:.0%}" for share in shares)
        print(f"\n  codes of the embedded model that come back from their latents: {told}, time after time")
    assert 0.2 < shares[0] < shares[-1]
