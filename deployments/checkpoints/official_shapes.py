"""The official checkpoints' configs as far as they decide shapes: known before anything is downloaded."""

import json
from pathlib import Path
from typing import Any

from deployments.checkpoints.catalog import OFFICIAL_DITS, OFFICIAL_LANGUAGE_MODELS, TEXT_ENCODER, VAE
from deployments.checkpoints.errors import CheckpointError

_FOLDER = Path(__file__).parent / "official_configs"


def official_config(name: str) -> dict[str, Any]:
    """What decides the shapes in the config.json of the official checkpoint `name`, in the original layout.

    The DiTs have two shapes: 2B, and XL with `-xl-` in their names. Raises CheckpointError for other names.
    """
    if name in OFFICIAL_DITS:
        name = "acestep-v15-xl-turbo" if "-xl-" in name else "acestep-v15-turbo"
    elif name not in {*OFFICIAL_LANGUAGE_MODELS, TEXT_ENCODER, VAE}:
        raise CheckpointError(f"{name!r} is no official checkpoint")
    config: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text())
    return config
