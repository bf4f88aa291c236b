"""Finding the folder of a checkpoint; the checkpoint is built or downloaded first if necessary."""

import json
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from deployments.checkpoints.catalog import (
    HUB_REPOS,
    OFFICIAL_DITS,
    TEXT_ENCODER,
    UNIFIED_REPO,
    VAE,
    LanguageModelTask,
    alignment_heads,
    dit_config_file,
    language_model_tasks,
)
from deployments.checkpoints.errors import CheckpointError
from deployments.checkpoints.official_shapes import official_config

if TYPE_CHECKING:
    from configs.settings import ModelSettings

EMBEDDED = Path(__file__).parent / "embedded"
"""The trained checkpoints that come with the code (training/MODEL_CARD.md)."""
BUILT_VERSION = 4
"""Version of the builders. Raise it when one of them changes, so that older folders are built again."""

_NO_CODE = ["*.py"]
_LABEL_FILE = "README.txt"

_BUILDERS = {
    "acestep-v15-turbo": "deployments.tiny_checkpoints.music_models:build_dit",
    VAE: "deployments.tiny_checkpoints.music_models:build_vae",
    TEXT_ENCODER: "deployments.tiny_checkpoints.music_models:build_text_encoder",
    "acestep-5Hz-lm-0.6B": "deployments.tiny_checkpoints.language_model:build",
}


def checkpoint_folder(models: "ModelSettings", name: str) -> Path:
    """The folder of the checkpoint `name`, which is built or downloaded first if `models.source` says so.

    Several processes may call this at once. `name` may be a path inside a checkpoint: `my-diffusers/vae`.
    Raises CheckpointError if there is no such checkpoint.
    """
    if models.source in ("embedded", "random") and name not in _BUILDERS:
        raise CheckpointError(
            f"this project has no checkpoint {name!r} of its own, only {', '.join(_BUILDERS)}. "
            "Set models.source to folder or hub for others."
        )
    if models.source == "embedded":
        return EMBEDDED / name
    if models.source == "random":
        return _built(models.folder, name)
    if models.source == "hub":
        _download(models.folder, Path(name).parts[0])
    folder = models.folder / name
    if not folder.is_dir():
        there = sorted(path.name for path in models.folder.glob("*") if path.is_dir())
        raise CheckpointError(
            f"no checkpoint {name!r} in {models.folder}: "
            + (f"it holds {', '.join(there)}" if there else "the folder is empty or missing")
            + ". Set models.folder to the folder whose subfolders are the checkpoints."
        )
    return folder


def trained_tasks(models: "ModelSettings", name: str) -> frozenset[LanguageModelTask]:
    """The tasks that the LM `name` was trained for, as far as this machine knows. Nothing is downloaded."""
    return language_model_tasks((EMBEDDED if models.source == "embedded" else models.folder) / name)


def follows_lyrics(models: "ModelSettings", name: str) -> bool:
    """Whether the DiT `name` has heads that follow the lyrics, as far as this machine knows.

    Nothing is downloaded or built: an official checkpoint that is not here is judged by its name. Raises
    CheckpointError if the config is malformed.
    """
    file = dit_config_file((EMBEDDED if models.source == "embedded" else models.folder) / name)
    if file.exists():
        return bool(alignment_heads(json.loads(file.read_text())))
    return name in OFFICIAL_DITS and bool(alignment_heads(official_config(name)))


def _built(models_folder: Path, name: str) -> Path:
    folder, builder = models_folder / name, _BUILDERS[name]
    if _is_current(folder, builder):
        return folder
    models_folder.mkdir(parents=True, exist_ok=True)
    with FileLock(models_folder / f".{name}.lock"):
        if not _is_current(folder, builder):
            _build_aside(folder, builder)
    return folder


def _label(builder: str) -> str:
    return f"""Tiny checkpoint built by acestep-serve ({builder}, version {BUILT_VERSION}).
The weights are random: the layout is the official one and the whole pipeline is real, but the sound is noise.
"""


def _is_current(folder: Path, builder: str) -> bool:
    label = folder / _LABEL_FILE
    return label.exists() and label.read_text() == _label(builder)


def _build_aside(folder: Path, builder: str) -> None:
    module, function = builder.split(":")
    build: Callable[[Path], None] = getattr(import_module(module), function)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as aside:
        fresh = Path(aside) / "fresh"
        fresh.mkdir()
        build(fresh)
        (fresh / _LABEL_FILE).write_text(_label(builder))
        if folder.exists():
            folder.rename(Path(aside) / "outdated")
        fresh.rename(folder)


def _download(models_folder: Path, name: str) -> None:
    if name not in HUB_REPOS:
        raise CheckpointError(
            f"{name!r} is no official checkpoint; the hub has {', '.join(sorted(HUB_REPOS))}. "
            "Put a checkpoint of your own into models.folder and set models.source to folder."
        )
    from huggingface_hub import snapshot_download

    repo = HUB_REPOS[name]
    if repo == UNIFIED_REPO:
        snapshot_download(
            repo, local_dir=models_folder, allow_patterns=[f"{name}/*"], ignore_patterns=_NO_CODE
        )
    else:
        snapshot_download(repo, local_dir=models_folder / name, ignore_patterns=_NO_CODE)
