"""Two tiny DiTs with the other tiny models in one folder: the turbo one, and a base one made from it."""

import json
import shutil
from pathlib import Path

from benchmarks.tiny_models import TINY_MODELS
from configs.settings import ModelSettings
from deployments.checkpoints.location import checkpoint_folder

TURBO, BASE = "acestep-v15-turbo", "acestep-v15-base"


def tiny_turbo_and_base(folder: Path) -> ModelSettings:
    """The settings of a server with both. Their checkpoints are copied into `folder`, or linked to."""
    from safetensors.torch import load_file, save_file

    folder.mkdir()
    for name in (*TINY_MODELS.dits, *TINY_MODELS.language_models, TINY_MODELS.text_encoder, TINY_MODELS.vae):
        (folder / name).symlink_to(checkpoint_folder(TINY_MODELS, name))
    base = shutil.copytree(folder / TURBO, folder / BASE)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"is_turbo": False, "model_version": "base"}))
    weights = load_file(base / "model.safetensors")
    save_file({key: 0.9 * weight for key, weight in weights.items()}, base / "model.safetensors")
    return ModelSettings(source="folder", folder=folder, dits=(TURBO, BASE))
