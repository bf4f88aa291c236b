"""The diffusers classes of a DiT checkpoint's four components."""

from deployments.checkpoints.bare_packages import bare_packages

with bare_packages("diffusers.models.transformers", "diffusers.pipelines.ace_step"):
    from diffusers.models.transformers.ace_step_transformer import AceStepTransformer1DModel
    from diffusers.pipelines.ace_step.modeling_ace_step import (
        AceStepAudioTokenDetokenizer,
        AceStepAudioTokenizer,
        AceStepConditionEncoder,
    )

__all__ = [
    "AceStepAudioTokenDetokenizer",
    "AceStepAudioTokenizer",
    "AceStepConditionEncoder",
    "AceStepTransformer1DModel",
]
