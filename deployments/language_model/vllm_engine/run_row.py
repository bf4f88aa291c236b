"""What travels with each vLLM request: the run it belongs to and how its tokens are drawn."""

from dataclasses import asdict, dataclass
from typing import Any

from deployments.common.messages import Sampling

_KEY = "acestep_run"


@dataclass(frozen=True)
class RunRow:
    """One sequence of a run. A guided run has two: conditional and unconditional."""

    run: str
    guided: bool
    unconditional: bool
    sampling: Sampling
    first_id: int
    end_id: int
    """Token ids in [first_id, end_id) may be drawn."""

    def as_extra_args(self) -> dict[str, Any]:
        """For `SamplingParams.extra_args`, which must be plain data."""
        return {_KEY: asdict(self)}

    @classmethod
    def of(cls, sampling_params: Any) -> "RunRow | None":
        """Read it back; None for requests that are not ours."""
        plain = (getattr(sampling_params, "extra_args", None) or {}).get(_KEY)
        if plain is None:
            return None
        return cls(**plain | {"sampling": Sampling(**plain["sampling"])})
