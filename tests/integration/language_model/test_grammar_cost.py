"""What the grammars cost with the official vocabulary."""

import statistics
import time

import pytest
import xgrammar

from deployments.language_model.grammar import constrained_metadata, description_tag
from deployments.language_model.prompts import END_THINK
from tests.qwen_tokenizer import qwen_tokenizer

ALL = ("bpm", "duration", "keyscale", "timesignature")
ANSWERS = {
    "metadata": " 120\nduration: 187\nkeyscale: F# minor\ntimesignature: 4\n",
    "description": " 120\ncaption: warm piano ballad\nduration: 187\nkeyscale: F# minor\nlanguage: en\n"
    "timesignature: 4\n",
}


def test_grammars_compile_in_a_second_and_cost_microseconds_a_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tokenizer = qwen_tokenizer()
    started = time.perf_counter()
    info = xgrammar.TokenizerInfo.from_huggingface(
        tokenizer.text_tokenizer(), vocab_size=len(tokenizer.text_ids), stop_token_ids=[tokenizer.end_id]
    )
    report = [f"vocabulary of {len(tokenizer.text_ids)}: {time.perf_counter() - started:.2f} s, once"]
    compiler = xgrammar.GrammarCompiler(info)
    compilers = {
        "metadata": lambda: compiler.compile_regex(constrained_metadata(ALL, {}, 600).regex),
        "description": lambda: compiler.compile_structural_tag(
            description_tag(tokenizer.token_id(END_THINK.name))
        ),
    }
    for name, compile_grammar in compilers.items():
        started = time.perf_counter()
        matcher = xgrammar.GrammarMatcher(compile_grammar())
        compile_seconds = time.perf_counter() - started
        bitmask = xgrammar.allocate_token_bitmask(1, len(tokenizer.text_ids))
        steps: list[float] = []
        for token in tokenizer.encode((ANSWERS[name],)):
            started = time.perf_counter()
            matcher.fill_next_token_bitmask(bitmask, 0)
            assert matcher.accept_token(token)
            steps.append(time.perf_counter() - started)
        report.append(
            f"{name}: compiled in {1e3 * compile_seconds:.1f} ms, "
            f"{1e6 * statistics.median(steps):.0f} µs a step, "
            f"{1e6 * max(steps):.0f} µs at most"
        )
        assert compile_seconds < 3
        assert statistics.median(steps) < 1e-3
    with capsys.disabled():
        print("", *report, sep="\n  ")
