"""What a client used on a day."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Usage:
    """Amounts of one client and one day, or of one job.

    All are whole numbers, so that a sum over jobs is exact in any order.
    """

    succeeded: int = 0
    """Jobs that ended so."""
    failed: int = 0
    cancelled: int = 0
    audio_ms: int = 0
    """Milliseconds of the songs that were made."""
    codes: int = 0
    """Audio codes that the language model wrote."""
    language_model_ms: int = 0
    """Milliseconds of the stages of this engine."""
    generator_ms: int = 0
    codec_ms: int = 0


AMOUNTS = tuple(field.name for field in fields(Usage))
"""The names of all amounts."""
