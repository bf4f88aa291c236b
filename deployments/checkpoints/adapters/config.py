"""The strengths that PEFT and diffusers write beside the matrices: rank, alpha, and patterns of both."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from deployments.checkpoints.adapters.errors import AdapterError

_MAX_PATTERNS = 2_000
_MAX_PATTERN = 200
"""Characters."""
_QUANTIFIED_GROUP = re.compile(r"[)\]][*+?{]|\{")
_DIFFUSERS_METADATA = "lora_adapter_metadata"
_DIFFUSERS_PREFIX = "transformer."
_CHANGED_BASES = ("pissa", "olora", "loftq", "corda", "lora_ga")
"""Initialisations after which a file only fits weights of the DiT that were changed in the same way."""


class PeftConfig(BaseModel):
    """The entries of adapter_config.json that decide what a LoRA does. The others do not matter here."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    peft_type: str = "LORA"
    r: int = Field(8, ge=1)
    lora_alpha: float = Field(8.0, allow_inf_nan=False)
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, float] = {}
    use_rslora: bool = False
    use_dora: bool = False
    fan_in_fan_out: bool = False
    bias: str = "none"
    lora_bias: bool = False
    modules_to_save: list[str] | None = None
    layer_replication: Any = None
    target_parameters: Any = None
    use_qalora: bool = False
    init_lora_weights: bool | str = True

    @field_validator("rank_pattern", "alpha_pattern", mode="before")
    @classmethod
    def _none_is_empty(cls, given: Any) -> Any:
        return given or {}

    @field_validator("rank_pattern", "alpha_pattern")
    @classmethod
    def _harmless(cls, patterns: dict[str, Any]) -> dict[str, Any]:
        """Refuse patterns that could take a regular expression longer than a moment."""
        if len(patterns) > _MAX_PATTERNS:
            raise ValueError(f"more than {_MAX_PATTERNS} patterns")
        for pattern in patterns:
            repeats = len(re.findall("[*+]", pattern))
            if len(pattern) > _MAX_PATTERN or _QUANTIFIED_GROUP.search(pattern) or repeats > 3:
                raise ValueError(f"a pattern that is not supported: {pattern:.60}")
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"a pattern that is no regular expression: {pattern:.60}") from error
        return patterns

    def check(self) -> None:
        """Raises AdapterError for an option that changes more than matrices of the DiT."""
        if self.peft_type != "LORA":
            raise AdapterError(f"its peft_type is {self.peft_type:.20}: of PEFT's only LORA is supported")
        refused = {
            "fan_in_fan_out": self.fan_in_fan_out,
            f"bias {self.bias:.20}": self.bias != "none",
            "lora_bias": self.lora_bias,
            "modules_to_save": bool(self.modules_to_save),
            "layer_replication": bool(self.layer_replication),
            "target_parameters": bool(self.target_parameters),
            "use_qalora": self.use_qalora,
            f"init_lora_weights {self.init_lora_weights!s:.20}": isinstance(self.init_lora_weights, str)
            and self.init_lora_weights.lower().startswith(_CHANGED_BASES),
        }
        if used := [name for name, is_used in refused.items() if is_used]:
            raise AdapterError(f"its adapter_config.json uses {', '.join(used)}, which is not supported")

    def scale(self, linear: str, rank: int) -> float:
        """The factor of the product of the two matrices of `linear`, whose rank the file shows."""
        alpha = _matching(self.alpha_pattern, linear)
        alpha = self.lora_alpha if alpha is None else alpha
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank


def _matching(patterns: Mapping[str, float], linear: str) -> float | None:
    """The value of the first pattern that matches, as in PEFT."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", linear):
            return value
    return None


def peft_config(content: bytes) -> PeftConfig:
    """The config in an adapter_config.json. Raises AdapterError."""
    try:
        return _parsed(json.loads(content))
    except (ValueError, RecursionError) as error:
        raise AdapterError("its adapter_config.json is no JSON") from error


def diffusers_config(metadata: Mapping[str, str]) -> PeftConfig | None:
    """The config in the metadata of a file that diffusers wrote; None where there is none.

    Raises AdapterError.
    """
    if _DIFFUSERS_METADATA not in metadata:
        return None
    try:
        entries = json.loads(metadata[_DIFFUSERS_METADATA])
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{_DIFFUSERS_METADATA} in its metadata is no JSON") from error
    if not isinstance(entries, dict):
        raise AdapterError(f"{_DIFFUSERS_METADATA} in its metadata is no JSON object")
    return _parsed(
        {
            name.removeprefix(_DIFFUSERS_PREFIX): value
            for name, value in entries.items()
            if name.startswith(_DIFFUSERS_PREFIX)
        }
    )


def _parsed(entries: Any) -> PeftConfig:
    try:
        config = PeftConfig.model_validate(entries)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"][:1]))
        problem = f"its adapter_config.json is wrong at {place or 'its top'}: {first['msg']}"
        raise AdapterError(problem) from error
    config.check()
    return config
