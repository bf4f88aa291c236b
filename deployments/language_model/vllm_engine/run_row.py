"""The data attached to each vLLM request: its run and how its tokens are drawn."""

from dataclasses import asdict, dataclass
from typing import Any

from deployments.common.messages import Sampling

_KEY = "acestep_run"
URGENT_ROWS_KEY = "urgent_rows"
"""Key in vLLM's `additional_config`: how many of its rows only urgent runs may take."""


@dataclass(frozen=True)
class RunRow:
    """One row of a run. A guided run has two: a conditional and an unconditional one."""

    run: str
    guided: bool
    unconditional: bool
    sampling: Sampling
    first_id: int
    end_id: int
    """Token ids from `first_id` up to `end_id`, exclusive, may be drawn."""
    urgent: bool = False
    """Whether the run goes before others (`TokenRequest.is_urgent`)."""

    def as_extra_args(self) -> dict[str, Any]:
        """The row as plain data, for `SamplingParams.extra_args`."""
        return {_KEY: asdict(self)}

    @classmethod
    def of(cls, sampling_params: Any) -> "RunRow | None":
        """The row in `sampling_params`; None if it was not made by `as_extra_args`."""
        plain = (getattr(sampling_params, "extra_args", None) or {}).get(_KEY)
        if plain is None:
            return None
        return cls(**plain | {"sampling": Sampling(**plain["sampling"])})
