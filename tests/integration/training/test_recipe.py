"""The whole recipe in a few steps: every stage runs, resumes exactly, and leaves what the server loads."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from configs.domain import AUDIO_CHANNELS, CODE_COUNT, SAMPLES_PER_LATENT
from configs.settings import ModelSettings
from deployments.checkpoints.catalog import TEXT_ENCODER, VAE, Variant
from deployments.checkpoints.loading import load_dit, load_text_encoder, load_tokenizer, load_vae
from deployments.checkpoints.location import checkpoint_folder
from deployments.codec.engine import VaeEngine
from deployments.codec.tiles import MARGIN
from deployments.generator.conditioning import ConditionEncoder
from deployments.generator.text_encoder import TextEncoder
from training.chunk import Chunk
from training.codec import calibrate, excerpts, new_vae, train_codec, trained_codec
from training.codes import let_gradients_through, trained_codes
from training.data import SongBlocks
from training.decoder import DecoderLoss
from training.export import DIT
from training.files import MODELS
from training.latents import Latents
from training.lessons import Lessons, with_codes
from training.prompting import padded
from training.recipe import FULL, QUICK
from training.run import run
from training.songs.song import Purpose, score
from training.teacher import trained_miniature
from training.transcripts import moments_of
from training.turbo import WEIGHTS, teachers_velocity

CPU = torch.device("cpu")


def test_the_server_finds_and_loads_what_the_recipe_leaves(work: Path) -> None:
    models = ModelSettings(folder=work / MODELS, source="folder")
    dit = load_dit(checkpoint_folder(models, DIT), "cpu", torch.float32)
    vae = load_vae(checkpoint_folder(models, VAE), "cpu", torch.float32)
    text_folder = checkpoint_folder(models, TEXT_ENCODER)
    model = load_text_encoder(text_folder, "cpu", torch.float32)
    tokenizer = load_tokenizer(text_folder)
    assert dit.variant is Variant.TURBO
    assert dit.condition_encoder.silence_latent.shape == (1, 15_000, vae.config.decoder_input_channels)
    assert tokenizer.get_vocab_size() <= model.config.vocab_size
    waveform = VaeEngine(vae).decode(np.zeros((5, vae.config.decoder_input_channels), np.float32))
    assert waveform.shape == (AUDIO_CHANNELS, 5 * SAMPLES_PER_LATENT)


def test_a_stage_that_is_done_has_nothing_left_to_do(work: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in (work / "songs").iterdir()}
    assert run("songs", QUICK, work, minutes=10)
    assert {file: file.stat().st_mtime_ns for file in (work / "songs").iterdir()} == before


@pytest.mark.slow
def test_training_in_chunks_gives_what_one_run_gives(songs: SongBlocks, tmp_path: Path) -> None:
    whole, chunks = tmp_path / "whole", tmp_path / "chunks"
    learning = replace(QUICK.codec, steps=4)
    recipe = replace(QUICK, codec=learning)
    assert train_codec(songs, recipe, whole, Chunk(10))

    class OneStep:
        """A chunk that is over after each step."""

        carry = None

        def __init__(self) -> None:
            self.looks = 0

        @property
        def is_over(self) -> bool:
            self.looks += 1
            return self.looks > 1

    results = [train_codec(songs, recipe, chunks, OneStep()) for _ in range(4)]
    assert results == [False, False, False, True]
    one, other = (trained_codec(folder, CPU) for folder in (whole, chunks))
    for (name, tensor), again in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(tensor, again, rtol=0, atol=0, msg=name)


def test_the_decoder_learns_alone(work: Path) -> None:
    before = trained_codec(work, CPU).state_dict()
    after = load_vae(work / MODELS / VAE, "cpu", torch.float32).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("decoder.") for name in changed)


def test_levels_of_silence_are_finite() -> None:
    batch = torch.zeros(1, AUDIO_CHANNELS, 8 * SAMPLES_PER_LATENT)
    losses = DecoderLoss(CPU)(new_vae(QUICK.vae), batch, torch.Generator().manual_seed(3))
    assert all(bool(loss.isfinite()) for loss in losses.values())


@pytest.mark.slow
def test_calibrated_latents_have_deviation_one_and_decode_to_the_same(songs: SongBlocks) -> None:
    torch.manual_seed(0)
    vae = new_vae(QUICK.vae)
    waveform = excerpts(songs, QUICK, 4, torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = vae.decode(vae.encode(waveform).latent_dist.mode()).sample
        calibrate(vae, waveform)
        latents = vae.encode(waveform).latent_dist.mode()
        torch.testing.assert_close(vae.decode(latents).sample, before, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(latents.std(dim=(0, 2)), torch.ones(latents.shape[1]), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_frame_of_the_full_codec_is_heard_no_further_than_the_tiles_margin() -> None:
    vae = new_vae(FULL.vae)
    frames, middle = 2 * MARGIN + 9, MARGIN + 4
    latents = torch.zeros(1, FULL.vae["decoder_input_channels"], frames, requires_grad=True)
    decoded = vae.decode(latents).sample
    decoded[..., middle * SAMPLES_PER_LATENT : (middle + 1) * SAMPLES_PER_LATENT].abs().sum().backward()
    reached = latents.grad.abs().sum(dim=(0, 1)).nonzero().flatten()
    assert middle - MARGIN <= int(reached.min()) < middle < int(reached.max()) <= middle + MARGIN


def test_codes_are_of_the_official_codebook_and_rounding_lets_gradients_through(
    work: Path, songs: SongBlocks
) -> None:
    codebook = trained_codes(QUICK, work, CPU)
    latents = Latents(work / "latents", songs).of(0, 1)[None, :50]
    _, indices = codebook.tokenizer.tokenize(latents)
    assert indices.shape == (len(latents), 10, 1)
    assert 0 <= int(indices.min()) <= int(indices.max()) < CODE_COUNT
    said = codebook(latents)
    assert said.shape == latents.shape
    let_gradients_through(codebook.tokenizer.quantizer)
    torch.testing.assert_close(codebook(latents), said)
    shown = latents.clone().requires_grad_()
    codebook(shown).square().sum().backward()
    assert shown.grad.abs().sum() > 0


def test_conditions_of_a_padded_batch_are_those_of_the_server(work: Path, songs: SongBlocks) -> None:
    models = ModelSettings(folder=work / MODELS, source="folder")
    modules = load_dit(checkpoint_folder(models, DIT), "cpu", torch.float32)
    model = load_text_encoder(checkpoint_folder(models, TEXT_ENCODER), "cpu", torch.float32)
    silence = Latents(work / "latents", songs).silence
    server = ConditionEncoder(modules, TextEncoder(model), modules.condition_encoder.silence_latent[0, :750])
    miniature = trained_miniature(work / WEIGHTS, QUICK, silence).half().float().eval()
    lyrics, captions = [(5, 6, 7), (8, 9)], [(1, 2), (3, 4, 5, 6)]
    references = torch.randn(2, 750, len(silence), generator=torch.Generator().manual_seed(1))
    references[1] = silence
    with torch.no_grad():
        states, mask = miniature.conditions(padded(lyrics), padded(captions), references)
        for row, reference in enumerate((references[0], None)):
            alone = server.states(server.prefix(lyrics[row], reference), captions[row])
            torch.testing.assert_close(states[row][mask[row]], alone, rtol=1e-4, atol=1e-4)


def test_the_velocity_does_not_look_at_padding(work: Path, songs: SongBlocks) -> None:
    miniature = trained_miniature(work / WEIGHTS, QUICK, Latents(work / "latents", songs).silence).eval()
    channels, hidden = QUICK.dit["audio_acoustic_hidden_dim"], QUICK.dit["hidden_size"]
    generator = torch.Generator().manual_seed(2)
    latents, context = (torch.randn(1, 20, width, generator=generator) for width in (channels, 2 * channels))
    states = torch.randn(1, 6, hidden, generator=generator)
    mask = torch.tensor([[True] * 4 + [False] * 2])
    timesteps = torch.tensor([0.7])
    with torch.no_grad():
        padded_answer = miniature.velocity(latents, timesteps, context, states, mask)
        alone = miniature.velocity(latents, timesteps, context, states[:, :4], mask[:, :4])
        everything = miniature.velocity(latents, timesteps, context, states, torch.ones_like(mask))
    torch.testing.assert_close(padded_answer, alone, rtol=1e-5, atol=1e-5)
    assert (padded_answer - everything).abs().max() > 1e-4


def test_lessons_are_the_same_each_time_and_show_what_their_tasks_show(work: Path, songs: SongBlocks) -> None:
    latents = Latents(work / "latents", songs)
    codebook = trained_codes(QUICK, work, CPU)
    lesson, again = (
        with_codes(Lessons(latents, QUICK)(24, torch.Generator().manual_seed(4)), codebook, latents.silence)
        for _ in range(2)
    )
    torch.testing.assert_close(lesson.context, again.context)
    torch.testing.assert_close(lesson.captions[0], again.captions[0])
    shown, mask = lesson.context.chunk(2, dim=-1)
    kept = mask == 0
    assert kept.any()
    torch.testing.assert_close(shown[kept], lesson.latents[kept])
    torch.testing.assert_close(shown[lesson.covers], codebook(lesson.latents[lesson.covers]))
    silent = (shown == latents.silence).all(dim=-1).all(dim=-1)
    assert 0 < int(silent.sum()) < len(shown)
    assert lesson.references.shape == (24, 750, shown.shape[-1])
    places = list(product(range(QUICK.blocks), range(QUICK.block_songs)))
    for song, moments in zip(lesson.latents, lesson.transcripts.moments, strict=True):
        ((block, place),) = [each for each in places if torch.equal(latents.of(*each), song)]
        played = score(Purpose.TRAINING, songs.numbers(block)[place], songs.seconds(block))
        np.testing.assert_array_equal(moments, moments_of(*played))


def test_the_student_is_taught_the_teachers_way(work: Path, songs: SongBlocks) -> None:
    latents = Latents(work / "latents", songs)
    teacher = trained_miniature(work / "teacher.pt", QUICK, latents.silence).eval()
    lesson = Lessons(latents, QUICK)(2, torch.Generator().manual_seed(4))
    start = torch.tensor([0.9, 0.5])
    short, long = (
        teachers_velocity(teacher, lesson, lesson.latents, start, start - size) for size in (1e-3, 0.4)
    )
    assert short.shape == lesson.latents.shape
    assert torch.isfinite(long).all()
    again = teachers_velocity(teacher, lesson, lesson.latents, start, start - 1e-3)
    torch.testing.assert_close(short, again)
    assert (short - long).abs().max() > 1e-4
