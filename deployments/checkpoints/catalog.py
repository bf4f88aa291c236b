"""The official checkpoints by name: their abilities, default options and repositories on the hub.

Sources: the model cards and the training registry of ACE-Step 1.5.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from configs.domain import EARLIER_SAMPLING, SamplingVersion, Task
from deployments.checkpoints.errors import CheckpointError

UNIFIED_REPO = "ACE-Step/Ace-Step1.5"
"""The repository that holds the default turbo model, the VAE, the text encoder and the 1.7B LM as
subfolders."""

TURBO_STEPS = 8
"""Steps of the distilled checkpoints' trained schedule."""
MAX_TURBO_STEPS = 20
"""The most steps that a distilled checkpoint runs, as in the original's user interface."""
TURBO_SHIFTS = (1.0, 2.0, 3.0)
"""The shifts that turbo checkpoints were trained for. The sampling of 2026-01 takes no others."""
MAX_CUSTOM_TURBO_STEPS = 20
"""Maximum length of a custom schedule for a turbo checkpoint: the distinct timesteps in its trained
schedules."""


class Variant(StrEnum):
    """The training that a DiT had."""

    TURBO = "turbo"
    """Distilled: a fixed schedule, and guidance is part of the weights."""
    BASE = "base"
    """Trained for every task; takes classifier-free guidance."""
    SFT = "sft"
    """Fine-tuned on songs; takes classifier-free guidance."""


_EVERY_MODEL = (Task.TEXT2MUSIC, Task.COVER, Task.REPAINT)

_TASKS = {Variant.TURBO: _EVERY_MODEL, Variant.BASE: tuple(Task), Variant.SFT: _EVERY_MODEL}


@dataclass(frozen=True)
class DiTCheckpoint:
    """The abilities of a DiT and its default schedule."""

    name: str
    variant: Variant
    default_shift: float
    repo: str | None
    """Repository on the Hugging Face hub; None for a user's own checkpoint."""
    is_for_stems: bool = False
    """Whether it was fine-tuned to make single tracks (`is_lego_sft`). Its caption is then written in lines
    for the whole song, the track and the mask, and it knows the mask mode `auto`."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        return _TASKS[self.variant]

    @property
    def takes_guidance(self) -> bool:
        return self.variant is not Variant.TURBO

    @property
    def default_steps(self) -> int:
        return TURBO_STEPS if self.variant is Variant.TURBO else 50

    @property
    def is_corrected(self) -> bool:
        """Whether its steps are corrected in the wavelet domain where a request leaves that open."""
        return self.variant is Variant.TURBO

    def takes_timesteps(self, sampling: SamplingVersion) -> bool:
        """Whether the DiT can run a custom schedule."""
        return self.variant is not Variant.BASE or sampling != EARLIER_SAMPLING

    def shift(self, asked: float | None, sampling: SamplingVersion) -> float:
        """The shift that the DiT uses if `asked` is requested; None requests its default."""
        shift = self.default_shift if asked is None else asked
        if self.variant is Variant.TURBO and sampling == EARLIER_SAMPLING:
            return min(TURBO_SHIFTS, key=lambda trained: abs(trained - shift))
        return shift

    def corrects(self, asked: bool | None, sampling: SamplingVersion) -> bool:
        """Whether steps are corrected if `asked` is requested; None requests the default."""
        return asked if asked is not None else self.is_corrected and sampling != EARLIER_SAMPLING


def _default_shift(variant: Variant) -> float:
    return 3.0 if variant is Variant.TURBO else 1.0


def _official(
    suffix: str, variant: Variant, shift: float | None = None, repo: str | None = None
) -> DiTCheckpoint:
    name = f"acestep-v15-{suffix}"
    return DiTCheckpoint(
        name, variant, _default_shift(variant) if shift is None else shift, repo or f"ACE-Step/{name}"
    )


OFFICIAL_DITS = {
    checkpoint.name: checkpoint
    for checkpoint in (
        _official("turbo", Variant.TURBO, repo=UNIFIED_REPO),
        _official("turbo-shift1", Variant.TURBO, shift=1.0),
        _official("turbo-shift3", Variant.TURBO),
        _official("turbo-continuous", Variant.TURBO),
        _official("base", Variant.BASE),
        _official("sft", Variant.SFT),
        _official("xl-turbo", Variant.TURBO),
        _official("xl-turbo-diffusers", Variant.TURBO),
        _official("xl-base", Variant.BASE),
        _official("xl-sft", Variant.SFT),
    )
}

VAE = "vae"
TEXT_ENCODER = "Qwen3-Embedding-0.6B"

OFFICIAL_LANGUAGE_MODELS = {
    "acestep-5Hz-lm-0.6B": "ACE-Step/acestep-5Hz-lm-0.6B",
    "acestep-5Hz-lm-1.7B": UNIFIED_REPO,
    "acestep-5Hz-lm-4B": "ACE-Step/acestep-5Hz-lm-4B",
}
"""LM -> repository on the Hugging Face hub."""


class LanguageModelTask(StrEnum):
    """A task of the LM beside the writing of metadata and codes, which every checkpoint can do."""

    WORDING = "wording"
    """Writes a caption and the language of the lyrics together with the metadata."""
    INSPIRE = "inspire"
    """Writes a whole song from a sentence."""
    FORMAT = "format"
    """Rewrites a caption and lyrics."""
    UNDERSTAND = "understand"
    """Describes a recording from its audio codes."""


TRAINED_TASKS = "trained_tasks"
"""Key in the config of an LM that lists its tasks. The official checkpoints have no such key."""


def language_model_tasks(folder: Path) -> frozenset[LanguageModelTask]:
    """The tasks that the LM in `folder` was trained for: those that its config lists, or all of them.

    The folder may be on another machine; then the LM counts as trained for all.
    """
    file = folder / "config.json"
    listed = json.loads(file.read_text()).get(TRAINED_TASKS) if file.exists() else None
    return frozenset(LanguageModelTask) if listed is None else frozenset(map(LanguageModelTask, listed))


HUB_REPOS = (
    {name: checkpoint.repo for name, checkpoint in OFFICIAL_DITS.items() if checkpoint.repo}
    | OFFICIAL_LANGUAGE_MODELS
    | {VAE: UNIFIED_REPO, TEXT_ENCODER: UNIFIED_REPO}
)
"""Every official checkpoint -> repository on the Hugging Face hub."""


AlignmentHeads = tuple[tuple[int, int], ...]
"""Heads of the DiT's cross-attention, as pairs (layer, head)."""

ALIGNMENT_HEADS = "lyric_alignment_layers_config"
"""Key in the config of a DiT that lists the heads in which its attention follows the lyrics, by layer."""
_HEADS_OF_2B: AlignmentHeads = ((2, 6), (3, 10), (3, 11), (4, 3), (5, 8), (5, 9), (6, 8))
"""The heads of the official 2B models, whose configs have no such key."""
_SIZE_OF_2B = (24, 16)
"""The layers of the official 2B models, and the heads of each."""


def alignment_heads(config: Mapping[str, Any]) -> AlignmentHeads:
    """The heads of a DiT that follow the lyrics; none if neither its config nor its size tells them.

    XL models are larger and have other heads, so they need the key. Heads that the model does not have are
    left out. Raises CheckpointError if the key is malformed.
    """
    layers, heads = config.get("num_hidden_layers", 0), config.get("num_attention_heads", 0)
    listed = config.get(ALIGNMENT_HEADS)
    if listed is None:
        return _HEADS_OF_2B if (layers, heads) == _SIZE_OF_2B else ()
    try:
        found = sorted((int(layer), int(head)) for layer, of_layer in listed.items() for head in of_layer)
    except (AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{ALIGNMENT_HEADS} should be lists of heads by layer: {error}") from error
    return tuple((layer, head) for layer, head in found if 0 <= layer < layers and 0 <= head < heads)


def variant_of(config: Mapping[str, Any]) -> Variant:
    """The variant that a DiT's own config states, in the original or the diffusers layout."""
    if config.get("is_turbo"):
        return Variant.TURBO
    return Variant.SFT if "sft" in str(config.get("model_version") or "") else Variant.BASE


def dit_config_file(folder: Path) -> Path:
    """The config of the DiT in `folder`; in the diffusers layout it is in `transformer/`."""
    nested = folder / "transformer" / "config.json"
    return nested if nested.exists() else folder / "config.json"


def dit_checkpoint(name: str, models_folder: Path) -> DiTCheckpoint:
    """The abilities of the DiT called `name`.

    They are known for official names. For a user's own checkpoint they follow from its config. If that is not
    there (the folder may be on another machine), it counts as turbo, because every variant can do turbo's
    tasks.
    """
    if name in OFFICIAL_DITS:
        return OFFICIAL_DITS[name]
    file = dit_config_file(models_folder / name)
    config = json.loads(file.read_text()) if file.exists() else {"is_turbo": True}
    variant = variant_of(config)
    return DiTCheckpoint(name, variant, _default_shift(variant), None, bool(config.get("is_lego_sft")))
