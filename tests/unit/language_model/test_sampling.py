from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from deployments.common.messages import Sampling
from deployments.language_model.sampling import Drawing, derived_seed, draw, guide

GREEDY = Sampling(seed=0, temperature=0.0)


def logits_of(rows: int, tokens: int = 500) -> Tensor:
    return torch.randn(rows, tokens, generator=torch.Generator().manual_seed(1)) * 2


def drawn(logits: Tensor, sampling: Sampling, draws: int) -> list[int]:
    """Return the tokens of many steps with the same logits."""
    return [int(draw(logits[:1], [sampling], [[0] * step])) for step in range(draws)]


def allowed_by(row: Tensor, top_k: int = 0, top_p: float = 1.0) -> set[int]:
    """Return the tokens that top-k and then top-p permit, by the definition with sorting."""
    probabilities = row.double().softmax(0)
    order = probabilities.argsort(descending=True).tolist()
    if top_k:
        order = order[:top_k]
    total = sum(probabilities[token].item() for token in order)
    kept, mass = set(), 0.0
    for token in order:
        if mass >= top_p * total:
            break
        kept.add(token)
        mass += probabilities[token].item()
    return kept


def test_guidance_moves_away_from_the_unconditional_logits() -> None:
    conditional, unconditional = torch.tensor([[1.0, 2.0, -1.0]]), torch.tensor([[0.5, 3.0, -1.0]])
    assert guide(conditional, unconditional, torch.tensor([[2.0]])).tolist() == [[1.5, 1.0, -1.0]]


def test_guidance_is_computed_in_float32() -> None:
    conditional, unconditional = logits_of(1).bfloat16(), logits_of(1).roll(7).bfloat16()
    expected = unconditional.float() + 3 * (conditional.float() - unconditional.float())
    assert torch.equal(guide(conditional, unconditional, torch.tensor([[3.0]])), expected)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.0])
def test_a_token_masked_on_either_side_stays_masked(scale: float) -> None:
    masked = -torch.inf
    guided = guide(
        torch.tensor([[masked, masked, 1.0]]),
        torch.tensor([[masked, 0.0, masked]]),
        torch.tensor([[scale]]),
    )
    assert guided.tolist() == [[masked] * 3]


@pytest.mark.parametrize("penalty", [0.5, 2.0])
def test_generated_tokens_may_be_counted_from_another_id(penalty: float) -> None:
    logits, samplings = logits_of(2), [Sampling(seed=1, repetition_penalty=penalty)] * 2
    columns = [[3, 400, 3], [7]]
    ids = [[1000 + column for column in row] for row in columns]
    assert draw(logits, samplings, ids, first_id=1000).equal(draw(logits, samplings, columns))


def test_each_row_has_its_own_top_k() -> None:
    limits = [1, 0, 50, 500, 3]
    logits = logits_of(len(limits))
    samplings = [Sampling(seed=2, temperature=1.0, top_k=limit, top_p=1.0) for limit in limits]
    for step in range(200):
        tokens = draw(logits, samplings, [[0] * step] * len(limits))
        for row, limit in enumerate(limits):
            assert int(tokens[row]) in allowed_by(logits[row], top_k=limit)
            alone = draw(logits[row : row + 1], [samplings[row]], [[0] * step])
            assert tokens[row] == alone[0]


def test_temperature_zero_is_greedy() -> None:
    logits = logits_of(3)
    assert draw(logits, [GREEDY] * 3, [[], [], []]).equal(logits.argmax(dim=-1))


@pytest.mark.parametrize("temperature", [5e-324, 1e-311, 1e-40, 1e-7])
def test_a_temperature_too_small_for_float32_is_greedy(temperature: float) -> None:
    logits = logits_of(3) * 100
    samplings = [Sampling(seed=3, temperature=temperature, top_p=0.9)] * 3
    assert draw(logits, samplings, [[], [], []]).equal(logits.argmax(dim=-1))


@pytest.mark.parametrize(
    ("top_k", "top_p"), [(0, 0.5), (0, 0.05), (0, 0.99), (7, 1.0), (20, 0.6), (1, 1.0), (0, 1e-6)]
)
def test_only_the_likeliest_tokens_are_drawn(top_k: int, top_p: float) -> None:
    logits = logits_of(1, tokens=60)
    allowed = allowed_by(logits[0], top_k, top_p)
    tokens = drawn(logits, Sampling(seed=3, temperature=1.0, top_k=top_k, top_p=top_p), draws=2000)
    assert set(tokens) <= allowed
    likely = {token for token in allowed if logits[0].softmax(0)[token] > 0.01}
    assert likely <= set(tokens)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
def test_tokens_are_drawn_as_often_as_they_are_likely(temperature: float) -> None:
    logits = logits_of(1, tokens=8)
    draws = 4000
    tokens = drawn(logits, Sampling(seed=5, temperature=temperature, top_p=1.0), draws)
    frequencies = torch.bincount(torch.tensor(tokens), minlength=8) / draws
    assert (frequencies - (logits[0] / temperature).softmax(0)).abs().max() < 0.03


def test_a_row_does_not_depend_on_its_batch() -> None:
    logits = logits_of(6)
    samplings = [
        Sampling(seed=1),
        GREEDY,
        Sampling(seed=2, top_k=9, top_p=1.0),
        Sampling(seed=3, repetition_penalty=1.7),
        Sampling(seed=4, temperature=2.0, top_p=1.0),
        Sampling(seed=5, temperature=0.0, repetition_penalty=0.4),
    ]
    generated: Sequence[list[int]] = [[4], [5, 6], [], [int(logits[3].argmax())] * 3, [1], [2, 3]]
    together = draw(logits, samplings, generated)
    alone = [draw(logits[row : row + 1], [samplings[row]], [generated[row]]) for row in range(6)]
    assert together.equal(torch.cat(alone))


def test_draws_follow_seed_and_step() -> None:
    logits = logits_of(1)
    first, again, other = (drawn(logits, Sampling(seed=seed, top_p=1.0), 50) for seed in (7, 7, 8))
    assert first == again
    assert first != other
    assert len(set(first)) > 10


@pytest.mark.parametrize("seed", [0, 2**32 - 1, derived_seed(2**32 - 1, 1)])
def test_every_seed_can_be_used(seed: int) -> None:
    assert 0 <= int(draw(logits_of(1), [Sampling(seed=seed)], [[]])) < 500


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits() -> None:
    logits = torch.tensor([[3.0, 2.0, -1.0, -1.5]])
    greedy = Sampling(seed=0, temperature=0.0, repetition_penalty=2.0)
    assert draw(logits, [greedy], [[0]]).tolist() == [1]
    assert draw(logits[:, 2:], [greedy], [[0]]).tolist() == [1]
    assert logits.tolist() == [[3.0, 2.0, -1.0, -1.5]]


def test_derived_seeds_are_others() -> None:
    assert len({derived_seed(seed, 1) for seed in range(100)} | set(range(100))) == 200


def test_rows_draw_step_after_step_what_each_draws_alone() -> None:
    samplings = [
        Sampling(seed=1),
        Sampling(seed=2, temperature=0.0, repetition_penalty=1.3),
        Sampling(seed=3, top_k=5, repetition_penalty=0.7),
        Sampling(seed=4, top_p=1.0),
    ]
    together = Drawing(samplings, 500, torch.device("cpu"), first_id=100)
    histories: list[list[int]] = [[] for _ in samplings]
    for step in range(6):
        logits = logits_of(len(samplings)).roll(31 * step)
        alone = [
            int(draw(logits[row : row + 1], [sampling], [histories[row]], first_id=100))
            for row, sampling in enumerate(samplings)
        ]
        drawn_together = together.tokens(logits, histories).tolist()
        assert drawn_together == alone
        for history, token in zip(histories, drawn_together, strict=True):
            history.append(100 + token)
