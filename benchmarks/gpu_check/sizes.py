"""Defines the sizes that are measured on a GPU, and small ones for a CPU."""

from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.dit_config import dit_config
from benchmarks.dit_shapes import TWO_B, XL

_TINY = dit_config(layers=2, width=128) | {"sliding_window": 8}


@dataclass(frozen=True)
class Load:
    """Songs that step together."""

    name: str
    seconds: tuple[float, ...]
    levels: tuple[float, ...] = (1.0,)
    """Noise levels that the songs take in turn."""


@dataclass(frozen=True)
class Sizes:
    """All sizes of one check."""

    device: torch.device
    shapes: dict[str, dict[str, Any]]
    """The config.json of each DiT."""
    layers_compared: int
    """Layers of the models whose numbers are compared."""
    loads: tuple[Load, ...]
    unseen: tuple[float, ...]
    """Seconds of songs with lengths that occur nowhere else, one for each way to compute."""
    compile_backend: str
    repeats: int
    patience: float
    """Factor on the time limits of all parts."""
    product: int
    """Rows and columns of the matrix product."""
    copied_bytes: int
    vae_channels: int
    """Channels of the VAE's narrowest layers."""
    tiles: tuple[tuple[int, int], ...]
    """(frames, tiles) of each forward of the VAE."""
    sampled_rows: int
    sampled_tokens: int
    generator: tuple[int, int]
    """(layers, width) of the generator that runs out of memory."""
    songs: tuple[int, float]
    """Number of songs that this generator makes, and their seconds."""

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"


def for_gpu() -> Sizes:
    nine = (20.0, 30.0, 45.0, 60.0, 75.0, 90.0, 120.0, 150.0, 180.0)
    return Sizes(
        device=torch.device("cuda"),
        shapes={"2B": TWO_B, "XL": XL},
        layers_compared=4,
        loads=(
            Load("1 x 60 s", (60.0,)),
            Load("1 x 240 s", (240.0,)),
            Load("1 x 600 s", (600.0,)),
            Load("9 x 60 s", (60.0,) * 9),
            Load("9 mixed", nine, (1.0, 0.9, 0.7)),
            Load("16,000 tokens", (80.0,) * 16),
        ),
        unseen=(61.4, 67.8, 73.6, 79.4),
        compile_backend="inductor",
        repeats=5,
        patience=1.0,
        product=8192,
        copied_bytes=4 << 30,
        vae_channels=128,
        tiles=tuple((frames, count) for frames in (256, 512) for count in (1, 4, 8)),
        sampled_rows=64,
        sampled_tokens=64_000,
        generator=(8, 1024),
        songs=(16, 120.0),
    )


def for_cpu() -> Sizes:
    """Return the sizes of the dry run, which runs everything in miniature. Its figures mean nothing."""
    return Sizes(
        device=torch.device("cpu"),
        shapes={"2B": _TINY, "XL": _TINY},
        layers_compared=2,
        loads=(Load("1 song", (2.0,)), Load("3 mixed", (1.0, 2.0, 3.0), (1.0, 0.5))),
        unseen=(1.4, 1.6, 1.8, 2.2),
        compile_backend="eager",
        repeats=1,
        patience=100.0,
        product=64,
        copied_bytes=1 << 16,
        vae_channels=8,
        tiles=((8, 1), (8, 2)),
        sampled_rows=4,
        sampled_tokens=500,
        generator=(2, 128),
        songs=(2, 6.0),
    )
