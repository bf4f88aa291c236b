"""Compares our tiled decoding with that of diffusers, on random weights in the official VAE's shape.

    python -m benchmarks.codec --json codec.json

Both sides decode the same latents with the same random weights, threads and dtype in one process. The peer
runs as diffusers sets it up: tiles of 512 frames, 64 of overlap on each side.
"""

from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderOobleck

from benchmarks.measuring import (
    machine,
    measured,
    million_parameters,
    options,
    product_gflops,
    running_threads,
    show,
    write_json,
)
from benchmarks.random_vae import CHANNELS, random_vae
from configs.domain import LATENT_RATE
from configs.settings import CodecSettings
from deployments.codec.engine import VaeEngine
from deployments.common.latents_store import Latents
from deployments.common.processor import keep_freed_memory
from deployments.common.stored_recordings import Samples


@torch.inference_mode()
def peer_decode(vae: AutoencoderOobleck, latents: Latents, dtype: torch.dtype) -> Samples:
    """Decode with diffusers and return samples [2, samples]."""
    inputs = torch.from_numpy(latents.T[None].copy()).to(dtype)
    waveform: Samples = vae.decode(inputs).sample[0].float().numpy()
    return waveform


def compare(
    engine: VaeEngine, peer: AutoencoderOobleck, duration: float, dtype: torch.dtype
) -> dict[str, Any]:
    """Decode the same latents on both sides and return one row of the table."""
    shape = (round(duration * LATENT_RATE), CHANNELS)
    latents = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    our_cost, ours = measured(lambda: engine.decode(latents))
    peer_cost, theirs = measured(lambda: peer_decode(peer, latents, dtype))
    return {
        "audio, s": duration,
        "ours, s": our_cost.seconds,
        "peer, s": peer_cost.seconds,
        "ratio": peer_cost.seconds / our_cost.seconds,
        "ratio of processor time": peer_cost.processor_seconds / our_cost.processor_seconds,
        "difference, relative": float(np.abs(ours - theirs).max() / np.abs(theirs).max()),
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 60.0])
    parser.add_argument("--tile-frames", type=int, default=CodecSettings().tile_frames)
    chosen = parser.parse_args()
    width = 8 if chosen.quick else 128
    durations = [1.0, 21.0] if chosen.quick else chosen.seconds
    peer = random_vae(width)
    peer.use_tiling = True
    figures: dict[str, Any] = {
        **machine(chosen.threads),
        "decoder_million_parameters": million_parameters(peer.decoder),
        "tile_frames": chosen.tile_frames,
        "tables": {},
    }
    keep_freed_memory()  # This setting applies to both sides.
    with running_threads(chosen.threads):
        for name in chosen.dtypes:
            dtype = getattr(torch, name)
            engine = VaeEngine(
                random_vae(width), dtype=dtype, tile_frames=chosen.tile_frames, shared_forwards=False
            )
            peer.to(dtype)
            figures[f"{name}_product_gflops"] = product_gflops(dtype)
            compare(engine, peer, 0.5, dtype)  # This short decode warms both sides up.
            table = [compare(engine, peer, duration, dtype) for duration in durations]
            figures["tables"][name] = table
            show(name, table)
    print(*(f"{name}: {value}" for name, value in figures.items() if name != "tables"), sep="\n")
    write_json(chosen.json, figures)


if __name__ == "__main__":
    main()
