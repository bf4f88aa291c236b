"""The grammars of captions and descriptions allow the right answers; the engines' own matcher decides."""

import pytest
import xgrammar

from deployments.checkpoints.location import EMBEDDED
from deployments.common.messages import Metadata
from deployments.language_model.text.grammar import (
    TaggedText,
    constrained_description,
    constrained_wording,
)
from deployments.language_model.text.metadata import completed, parse_lm_output
from deployments.language_model.text.prompts import END_THINK
from deployments.language_model.text.tokenizer import LMTokenizer

METADATA = " 90\ncaption: A calm song\nduration: 25\nkeyscale: C# minor\nlanguage: en\ntimesignature: 4\n"


@pytest.fixture(scope="module")
def tokenizer() -> LMTokenizer:
    return LMTokenizer.from_folder(EMBEDDED / "acestep-5Hz-lm-0.6B")


@pytest.fixture(scope="module")
def compiler(tokenizer: LMTokenizer) -> xgrammar.GrammarCompiler:
    info = xgrammar.TokenizerInfo.from_huggingface(
        tokenizer.text_tokenizer(), stop_token_ids=[tokenizer.end_id]
    )
    return xgrammar.GrammarCompiler(info)


def description(tokenizer: LMTokenizer, wants_lyrics: bool = True, **forced: int | str) -> TaggedText:
    end = tokenizer.token_id(END_THINK.name)
    return constrained_description(end, forced, 30, caption_tokens=64, wants_lyrics=wants_lyrics)


def may_write(
    compiler: xgrammar.GrammarCompiler, tokenizer: LMTokenizer, tagged: TaggedText, *parts: str | int
) -> bool:
    """Whether the LM may write these texts and control tokens, and then end its turn."""
    matcher = xgrammar.GrammarMatcher(compiler.compile_structural_tag(tagged.structural_tag))
    ids = [
        token
        for part in parts
        for token in ([part] if isinstance(part, int) else tokenizer.bpe.encode(part).ids)
    ]
    return all(map(matcher.accept_token, [*ids, tokenizer.end_id]))


@pytest.mark.parametrize(
    ("metadata", "may"),
    [
        (METADATA, True),
        (METADATA.replace("keyscale", "genres: waltz, folk\nkeyscale"), True),
        (METADATA.replace(" 90", " 29"), False),
        (METADATA.replace("25", "31"), False),
        (METADATA.replace("A calm", "<|audio_code_1|> A calm"), False),
        (METADATA.replace("language: en\n", ""), False),
    ],
)
def test_a_description_has_every_field_in_range_and_perhaps_genres(
    compiler: xgrammar.GrammarCompiler, tokenizer: LMTokenizer, metadata: str, may: bool
) -> None:
    end = tokenizer.token_id(END_THINK.name)
    tagged = description(tokenizer)
    assert tagged.prefill == "\nbpm:"
    assert may_write(compiler, tokenizer, tagged, metadata, end, "\n\n# Lyric\nla la") is may


@pytest.mark.parametrize("wants_lyrics", [True, False])
def test_lyrics_follow_only_where_they_are_wanted(
    compiler: xgrammar.GrammarCompiler, tokenizer: LMTokenizer, wants_lyrics: bool
) -> None:
    end = tokenizer.token_id(END_THINK.name)
    tagged = description(tokenizer, wants_lyrics)
    assert may_write(compiler, tokenizer, tagged, METADATA, end)
    assert may_write(compiler, tokenizer, tagged, METADATA, end, "la la") is wants_lyrics
    assert not may_write(compiler, tokenizer, tagged, METADATA)


def test_given_values_are_written_as_they_are(
    compiler: xgrammar.GrammarCompiler, tokenizer: LMTokenizer
) -> None:
    end = tokenizer.token_id(END_THINK.name)
    tagged = description(tokenizer, bpm=72, language="ja")
    assert tagged.prefill == "\nbpm: 72\ncaption:"
    answer = METADATA.partition("caption:")[2]
    assert not may_write(compiler, tokenizer, tagged, answer, end)
    assert may_write(compiler, tokenizer, tagged, answer.replace("language: en", "language: ja"), end)


@pytest.mark.parametrize(
    ("wanted", "prefill", "written"),
    [
        ({"bpm", "caption"}, "\nbpm:", " 90\ncaption: A calm song\n"),
        ({"caption"}, "\nbpm: 72\ncaption:", " A calm song\n"),
        (
            {"caption", "language"},
            "\nbpm: 72\ncaption:",
            " A calm song\nduration: 30\nkeyscale: C# minor\nlanguage: fr\n",
        ),
    ],
)
def test_a_caption_is_worded_among_the_metadata_that_is_known(
    compiler: xgrammar.GrammarCompiler,
    tokenizer: LMTokenizer,
    wanted: set[str],
    prefill: str,
    written: str,
) -> None:
    known = {"bpm": 72, "duration": 30, "keyscale": "C# minor", "language": "en", "timesignature": "4"}
    forced = {key: value for key, value in known.items() if key not in wanted}
    tagged = constrained_wording(wanted, forced, 30, caption_tokens=64)
    assert tagged.prefill == prefill
    assert may_write(compiler, tokenizer, tagged, written)
    assert not may_write(compiler, tokenizer, tagged, written, "timesignature: 4\n")


def test_a_caption_ends_after_its_tokens(compiler: xgrammar.GrammarCompiler, tokenizer: LMTokenizer) -> None:
    """The mask, which decides what is drawn, allows nothing but the end of the line then."""
    tagged = constrained_wording({"caption"}, {}, 30, caption_tokens=5)
    matcher = xgrammar.GrammarMatcher(compiler.compile_structural_tag(tagged.structural_tag))
    size = len(tokenizer.text_ids)
    mask = xgrammar.allocate_token_bitmask(1, size)
    words = tokenizer.bpe.encode(" a a a a a a a a").ids
    for token in words:
        matcher.fill_next_token_bitmask(mask, 0)
        if not (int(mask[0, token // 32]) >> token % 32) & 1:
            break
        assert matcher.accept_token(token)
    else:
        raise AssertionError(f"{len(words)} tokens were allowed")
    allowed = [token for token in range(size) if (int(mask[0, token // 32]) >> token % 32) & 1]
    assert {tokenizer.bpe.decode([token])[:1] for token in allowed} == {"\n"}


def test_genres_of_an_answer_are_kept() -> None:
    fields, _ = parse_lm_output("bpm: 90\ngenres: waltz,\n  folk\nmood: sad\n")
    assert fields == {"bpm": 90, "genres": "waltz, folk"}


def test_what_the_lm_writes_can_be_sent_back_in_a_request() -> None:
    written = completed(Metadata(bpm=72), {"bpm": 90, "caption": "a\0b\x0fc", "genres": "\0"})
    assert written == Metadata(bpm=72, caption="abc")
