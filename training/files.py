"""Writes small files beside the weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MODELS = "models"
"""Subfolder of a run's folder that holds the finished checkpoints."""


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write JSON in the format of checkpoints."""
    file.write_text(json.dumps(content, indent=2) + "\n")
