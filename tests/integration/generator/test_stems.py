"""Checkpoints for stems (`is_lego_sft`): their captions and their mask mode `auto`."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from configs.domain import Task
from deployments.checkpoints.catalog import Variant, dit_checkpoint
from deployments.checkpoints.loading import DiTModules, load_dit
from deployments.common.messages import ChunkMaskMode, DenoiseRequest, Window
from deployments.generator.prompts import stem_caption
from deployments.generator.tasks import TaskContexts
from tests.watched_engine import CHANNELS, CHECKPOINTS, SONG, changed, noise

LEGO = replace(SONG, task=Task.LEGO, window=Window(50, 100))


@pytest.fixture(scope="module")
def modules() -> DiTModules:
    return load_dit(CHECKPOINTS / "original" / "acestep-v15-base", "cpu", torch.float32)


@pytest.mark.parametrize(
    ("stems", "task", "mode", "masked"),
    [
        (True, Task.LEGO, "auto", 150),
        (True, Task.LEGO, "explicit", 50),
        (True, Task.REPAINT, "auto", 50),
        (False, Task.LEGO, "auto", 50),
    ],
)
def test_only_a_model_for_stems_works_on_the_whole_song_and_never_in_a_repaint(
    modules: DiTModules, stems: bool, task: Task, mode: ChunkMaskMode, masked: int
) -> None:
    request: DenoiseRequest = changed(replace(LEGO, task=task), chunk_mask_mode=mode)
    with torch.inference_mode():
        context = TaskContexts(modules, stems)(request, noise(150, seed=1))
    mask = context.context[:, CHANNELS:].numpy()
    assert np.count_nonzero(mask.any(axis=1)) == masked
    assert context.window == Window(50, 100)


def test_the_caption_names_the_song_the_track_and_the_mask() -> None:
    assert stem_caption("Generate the track:", "drums", "a band", works_on_window=False) == (
        "Global: a band\nLocal: drums\nMask Control: false"
    )
    assert stem_caption("Generate a segment of the track:", "drums", "a band", works_on_window=True) == (
        "Local: drums\nMask Control: true"
    )


@pytest.mark.parametrize("is_for_stems", [True, False])
def test_a_checkpoints_own_config_says_whether_it_is_for_stems(tmp_path: Path, is_for_stems: bool) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"is_lego_sft": is_for_stems}))
    checkpoint = dit_checkpoint("mine", tmp_path)
    assert (checkpoint.is_for_stems, checkpoint.variant) == (is_for_stems, Variant.BASE)
