"""The differential correction of each step in the wavelet domain (DCW, arXiv 2604.16044)."""

from dataclasses import dataclass

import torch

from deployments.common.messages import CorrectionMode, Wavelet
from deployments.generator.wavelets import low_band


@dataclass(frozen=True)
class StepCorrection:
    """Moves the latents after a step further away from the clean estimate with which the step began.

    The low band moves most where the noise is, the high band where the music is.
    """

    mode: CorrectionMode
    scaler: float
    high_scaler: float
    """The strength in the high band, in the mode `double`."""
    wavelet: Wavelet

    def corrected(self, latents: torch.Tensor, clean: torch.Tensor, timestep: float) -> torch.Tensor:
        """`latents` after a step that began at `timestep` with the estimate `clean`, both [frames, channels].

        The wavelet transform is linear, so that one of the difference does for both.
        """
        difference = latents - clean
        if self.mode == "pix":
            return latents + self.scaler * difference
        low = low_band(difference, self.wavelet)
        high = difference - low
        match self.mode:
            case "low":
                return latents + timestep * self.scaler * low
            case "high":
                return latents + (1.0 - timestep) * self.scaler * high
            case "double":
                corrected_low = latents + timestep * self.scaler * low
                return corrected_low + (1.0 - timestep) * self.high_scaler * high
