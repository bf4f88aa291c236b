"""Builds the smallest possible models with random weights, to see that a benchmark runs."""

from pathlib import Path

from configs.settings import ModelSettings

TINY_MODELS = ModelSettings(source="random", folder=Path("models/random"))
