"""The matrices of a server's DiTs, from their configs alone, as far as this machine knows them."""

import json
from typing import TYPE_CHECKING, Any

from deployments.checkpoints.adapters.linears import Linears, decoder_linears
from deployments.checkpoints.catalog import OFFICIAL_DITS
from deployments.checkpoints.key_map import Component
from deployments.checkpoints.location import EMBEDDED
from deployments.checkpoints.official_shapes import official_config

if TYPE_CHECKING:
    from configs.settings import ModelSettings


def dit_linears(models: "ModelSettings", name: str) -> Linears | None:
    """The matrices of the DiT called `name`; None where neither this machine nor the catalog knows it.

    Its folder may be on another machine; then an official name tells the sizes. Nothing is downloaded.
    """
    if (config := _config(models, name)) is None:
        return None
    try:
        return decoder_linears(config)
    except (KeyError, TypeError):
        return None


def _config(models: "ModelSettings", name: str) -> dict[str, Any] | None:
    folder = (EMBEDDED if models.source == "embedded" else models.folder) / name
    for file in (folder / Component.TRANSFORMER / "config.json", folder / "config.json"):
        if file.is_file():
            config: dict[str, Any] = json.loads(file.read_text())
            return config
    is_official = models.source in ("folder", "hub") and name in OFFICIAL_DITS
    return official_config(name) if is_official else None
