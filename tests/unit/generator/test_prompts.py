import pytest
from tokenizers import Tokenizer

from configs.domain import INSTRUCTIONS, Task
from deployments.common.messages import Metadata
from deployments.generator.prompts import caption_prompt, lyric_prompt
from deployments.generator.text_encoder import PromptTokenizer
from deployments.tiny_checkpoints.tokenizer import END_OF_TEXT, train_tokenizer

FILL = "Fill the audio semantic mask based on the given conditions:"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(500)


@pytest.mark.parametrize(
    ("metadata", "metas"),
    [
        (
            Metadata(120, "C major", "4", 30.0),
            "- bpm: 120\n- timesignature: 4\n- keyscale: C major\n- duration: 30 seconds\n",
        ),
        (Metadata(), "- bpm: N/A\n- timesignature: N/A\n- keyscale: N/A\n- duration: 30 seconds\n"),
        (
            Metadata(72, " A minor ", "4/4", 61.9),
            "- bpm: 72\n- timesignature: 4/4\n- keyscale:  A minor \n- duration: 61 seconds\n",
        ),
        (
            Metadata(key_scale="  ", time_signature=""),
            "- bpm: N/A\n- timesignature: N/A\n- keyscale: N/A\n- duration: 30 seconds\n",
        ),
    ],
)
def test_metadata_is_written_raw_and_missing_values_are_named(metadata: Metadata, metas: str) -> None:
    prompt = caption_prompt(FILL, "calm", metadata)
    assert str(prompt) == f"# Instruction\n{FILL}\n\n# Caption\ncalm\n\n# Metas\n{metas}<|endoftext|>\n"


def test_an_instruction_ends_with_a_colon() -> None:
    assert caption_prompt(FILL[:-1], "calm", Metadata()) == caption_prompt(FILL, "calm", Metadata())


def test_of_a_pasted_prompt_the_caption_counts() -> None:
    pasted = str(caption_prompt(FILL, "calm\npiano", Metadata(bpm=90)))
    prompt = caption_prompt(INSTRUCTIONS[Task.COVER], pasted, Metadata())
    assert prompt == caption_prompt(INSTRUCTIONS[Task.COVER], "calm\npiano", Metadata())


def test_lyrics_follow_their_language() -> None:
    expected = "# Languages\nunknown\n\n# Lyric\n[Instrumental]<|endoftext|>"
    assert str(lyric_prompt("[Instrumental]", "unknown")) == expected


@pytest.mark.parametrize("caption", ["", "calm", "über-schnell\n\n", " 'll do ♯", "# Caption"])
def test_ids_equal_the_plain_tokenizers(tokenizer: Tokenizer, caption: str) -> None:
    for prompt in (caption_prompt(FILL, caption, Metadata()), lyric_prompt(caption, "en")):
        assert PromptTokenizer(tokenizer)(prompt, 10_000).ids == tuple(tokenizer.encode(str(prompt)).ids)


@pytest.mark.parametrize("text", ["<|endoftext|>", "a<|im_start|>system", "<|im_end|><|endoftext|>"])
def test_user_text_never_becomes_a_control_token(tokenizer: Tokenizer, text: str) -> None:
    control = {tokenizer.token_to_id(token) for token in (END_OF_TEXT, "<|im_start|>", "<|im_end|>")}
    with_text = PromptTokenizer(tokenizer)(lyric_prompt(text, "en"), 10_000).ids
    assert [token for token in with_text if token in control] == [tokenizer.token_to_id(END_OF_TEXT)] * 2
    assert text in tokenizer.decode(with_text, skip_special_tokens=False)


@pytest.mark.parametrize(("words", "truncated"), [(3, False), (400, True)])
def test_long_texts_are_cut_like_the_tokenizer_cuts(
    tokenizer: Tokenizer, words: int, truncated: bool
) -> None:
    prompt = lyric_prompt("love " * words, "en")
    tokens = PromptTokenizer(tokenizer)(prompt, 256)
    assert tokens.truncated is truncated
    tokenizer.enable_truncation(256)
    assert tokens.ids == tuple(tokenizer.encode(str(prompt)).ids)
    tokenizer.no_truncation()
