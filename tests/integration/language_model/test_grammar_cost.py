"""Grammars of the official vocabulary cost less than the work that is necessary anyway."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import xgrammar

from deployments.common.messages import Sampling
from deployments.language_model.sampling import draw
from deployments.language_model.text.grammar import constrained_description, constrained_metadata
from deployments.language_model.text.prompts import END_THINK
from tests.qwen_tokenizer import qwen_tokenizer

MOST_DRAWS = 10
ALL = ("bpm", "duration", "keyscale", "timesignature")
ANSWERS = {
    "metadata": " 120\nduration: 187\nkeyscale: F# minor\ntimesignature: 4\n",
    "description": " 120\ncaption: warm piano ballad\nduration: 187\nkeyscale: F# minor\nlanguage: en\n"
    "timesignature: 4\n",
}


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    return work(), time.perf_counter() - started


@pytest.mark.slow
def test_grammars_cost_less_than_reading_the_vocabulary_and_drawing_a_token(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tokenizer = qwen_tokenizer()
    info, vocabulary_seconds = timed(
        lambda: xgrammar.TokenizerInfo.from_huggingface(
            tokenizer.text_tokenizer(), vocab_size=len(tokenizer.text_ids), stop_token_ids=[tokenizer.end_id]
        )
    )
    report = [f"vocabulary of {len(tokenizer.text_ids)}: {vocabulary_seconds:.2f} s, once"]
    compiler = xgrammar.GrammarCompiler(info)
    compilers = {
        "metadata": lambda: compiler.compile_regex(constrained_metadata(ALL, {}, 600).regex),
        "description": lambda: compiler.compile_structural_tag(
            constrained_description(tokenizer.token_id(END_THINK.name), {}, 600, 512, True).structural_tag
        ),
    }
    logits = torch.randn(1, len(tokenizer.text_ids), generator=torch.Generator().manual_seed(1))
    for name, compile_grammar in compilers.items():
        grammar, compile_seconds = timed(compile_grammar)
        matcher = xgrammar.GrammarMatcher(grammar)
        bitmask = xgrammar.allocate_token_bitmask(1, len(tokenizer.text_ids))
        steps, draws = [], []
        for token in tokenizer.encode((ANSWERS[name],)):
            _, seconds = timed(
                lambda matcher=matcher, bitmask=bitmask: matcher.fill_next_token_bitmask(bitmask, 0)
            )
            steps.append(seconds)
            assert matcher.accept_token(token)
            if len(draws) < MOST_DRAWS:
                draws.append(timed(lambda: draw(logits, [Sampling(seed=1)], [[]]))[1])
        step, drawing = statistics.median(steps), statistics.median(draws)
        report.append(
            f"{name}: compiled in {1e3 * compile_seconds:.1f} ms, {1e6 * step:.0f} µs a step, "
            f"where drawing a token takes {1e6 * drawing:.0f} µs"
        )
        assert compile_seconds < vocabulary_seconds
        assert step < drawing
    with capsys.disabled():
        print("", *report, sep="\n  ")
