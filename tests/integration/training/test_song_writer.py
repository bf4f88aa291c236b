"""The language model's stage: its lessons, and the checkpoint that the server loads."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from configs.domain import CODE_RATE, LATENTS_PER_CODE
from deployments.language_model.text.prompts import compose_prompt, plan_prompt, unconditional_compose_prompt
from deployments.language_model.text.tokenizer import LMTokenizer
from training.codes import trained_codes
from training.data import SongBlocks
from training.export import LANGUAGE_MODEL
from training.files import MODELS
from training.latents import Latents
from training.recipe import FULL, QUICK
from training.song_codes import SongCodes
from training.song_writer import (
    Beginnings,
    batch_of_lessons,
    lesson,
    new_song_writer,
    trained_song_writer,
    vocabulary,
)
from training.songs.description import Description, describe
from training.songs.song import Purpose, generator

CODES = tuple(range(0, 64_000, 1_280))


@pytest.fixture(scope="module")
def words() -> LMTokenizer:
    return vocabulary(QUICK.text["vocab_size"]).tokenizer


@pytest.fixture
def song() -> Description:
    return describe(generator(Purpose.TRAINING, 7))


def test_the_checkpoint_says_of_the_next_code_what_was_learned(work: Path, song: Description) -> None:
    """All 64,000 codes get the probabilities of their halves, up to the rounding of half precision."""
    folder = work / MODELS / LANGUAGE_MODEL
    words = LMTokenizer.from_folder(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    writer = trained_song_writer(QUICK, work)
    shown, told = lesson(song, CODES, np.random.default_rng(1), words)
    ids = torch.tensor([shown + told])
    with torch.no_grad():
        said = model(ids).logits[0, -1, words.code_ids.start : words.code_ids.stop].log_softmax(dim=-1)
        state = writer.body(inputs_embeds=writer.embedded(ids), use_cache=False).last_hidden_state[0, -1]
        tables = (writer.lower, writer.upper)
        learned = sum(
            (state @ table.weight.T).log_softmax(dim=-1)[half]
            for table, half in zip(tables, writer.halves_of(torch.arange(len(said))), strict=True)
        )
    torch.testing.assert_close(said, learned, rtol=0, atol=2e-2)


def test_a_lesson_is_the_servers_prompt_with_the_answer_to_learn(
    song: Description, words: LMTokenizer
) -> None:
    shown, told = lesson(song, CODES, np.random.default_rng(1), words)
    text = words.decode(shown)
    assert words.codes(told[-len(CODES) :]) == CODES
    assert f"bpm: {song.bpm}" in words.decode(told[: -len(CODES)])
    caption = text.split("# Caption\n")[1].split("\n")[0]
    lyrics = text.split("# Lyric\n")[1].split("\nassistant")[0].rstrip("\n")
    assert shown == words.encode(plan_prompt(caption, lyrics))
    answer = words.decode(told[: -len(CODES)]).strip()
    assert (shown + told)[: -len(CODES)] == words.encode(compose_prompt(caption, lyrics, answer))


def test_beginnings_of_songs_come_with_their_codes(work: Path, songs: SongBlocks) -> None:
    """The first block is treated as if its songs lasted three seconds."""
    recipe = replace(QUICK, durations=(3, *QUICK.durations))
    beginnings = Beginnings(SongCodes(work / "song_codes", SongBlocks(songs.folder, recipe)))
    seconds = set()
    for seed in range(8):
        drawn = beginnings.draw(3, np.random.default_rng(seed))
        (lasting,) = {song.seconds for song, _ in drawn}
        assert all(len(codes) == CODE_RATE * lasting and min(codes) >= 0 for _, codes in drawn)
        seconds.add(lasting)
    assert seconds == set(recipe.durations)


def test_a_song_is_written_in_five_ways(work: Path, songs: SongBlocks) -> None:
    """Each version begins a frame later than the one before. The last code of the later ones is missing."""
    written = SongCodes(work / "song_codes", songs)
    whole = Latents(work / "latents", songs).of(1, 0)
    tokenizer = trained_codes(QUICK, work, torch.device("cpu")).tokenizer
    count = len(whole) // LATENTS_PER_CODE
    for late in range(LATENTS_PER_CODE):
        said = count - (late > 0)
        with torch.no_grad():
            _, expected = tokenizer.tokenize(whole[None, late : late + said * LATENTS_PER_CODE])
        codes = written.of(1, 0, late)
        assert codes[:said].tolist() == expected[0, :, 0].tolist()
        assert codes[said:].tolist() == [-1] * (count - said)
    assert written.ways(1, songs.seconds(1)) == 1
    assert written.ways(1, songs.seconds(1) - 1) == LATENTS_PER_CODE


def test_some_lessons_have_no_caption(song: Description, words: LMTokenizer) -> None:
    bare = words.encode(unconditional_compose_prompt(None))
    rng = np.random.default_rng(2)
    lessons = [lesson(song, CODES, rng, words) for _ in range(200)]
    assert 10 <= sum(shown == bare for shown, _ in lessons) <= 45


def test_padding_is_no_target_and_changes_nothing(song: Description, words: LMTokenizer) -> None:
    torch.manual_seed(0)
    writer = new_song_writer(QUICK).eval()
    rng = np.random.default_rng(3)
    long, short = lesson(song, CODES, rng, words), lesson(song, CODES[:5], rng, words)
    with torch.no_grad():
        both = writer(*batch_of_lessons([long, short]))
        alone = [writer(*batch_of_lessons([tokens])) for tokens in (long, short)]
    counts = [len(CODES), 5]
    expected = sum(count * losses["codes"] for count, losses in zip(counts, alone, strict=True)) / sum(counts)
    torch.testing.assert_close(both["codes"], expected, rtol=1e-4, atol=1e-4)


def test_the_full_model_is_small() -> None:
    state = new_song_writer(FULL).official_state()
    megabytes = sum(tensor.numel() for tensor in state.values()) * 2 / 1e6
    assert megabytes < 15
