"""One forward of the DiT for rows of songs."""

from collections.abc import Sequence

import torch
from diffusers import AceStepTransformer1DModel

from deployments.generator.trajectory import Row


def velocities(transformer: AceStepTransformer1DModel, rows: Sequence[Row]) -> list[torch.Tensor]:
    """The velocity [frames, channels] in float32 of each row. All rows have the same frames and tokens."""
    dtype = transformer.dtype
    timesteps = torch.tensor([row.timestep for row in rows], device=transformer.device, dtype=dtype)
    (predicted,) = transformer(
        hidden_states=torch.stack([row.latents for row in rows]).to(dtype),
        timestep=timesteps,
        timestep_r=timesteps,
        encoder_hidden_states=torch.stack([row.condition.encoder_states for row in rows]),
        context_latents=torch.stack([row.condition.context for row in rows]),
        return_dict=False,
    )
    return list(predicted.float())
