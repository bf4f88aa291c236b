"""The parts of the official checkpoints' configs that decide shapes, known before anything is downloaded."""

import json
from pathlib import Path
from typing import Any

from deployments.checkpoints.catalog import OFFICIAL_DITS, OFFICIAL_LANGUAGE_MODELS, TEXT_ENCODER, VAE
from deployments.checkpoints.errors import CheckpointError

_FOLDER = Path(__file__).parent / "official_configs"


def official_config(name: str) -> dict[str, Any]:
    """The entries that decide shapes in the original config.json of the official checkpoint `name`.

    The DiTs have two shapes: 2B, and XL with `-xl-` in its name. Raises CheckpointError for other names.
    """
    if name in OFFICIAL_DITS:
        name = "acestep-v15-xl-turbo" if "-xl-" in name else "acestep-v15-turbo"
    elif name not in {*OFFICIAL_LANGUAGE_MODELS, TEXT_ENCODER, VAE}:
        raise CheckpointError(f"{name!r} is no official checkpoint")
    config: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text())
    return config
