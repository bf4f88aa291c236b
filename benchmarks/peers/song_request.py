"""What a job is asked for, and what the peers can do of it."""

import math

from pydantic import BaseModel, ConfigDict

from configs.domain import LATENT_RATE


class SongRequest(BaseModel):
    """What both sides are asked for: fields of the job API. Metadata is given: the LM writes codes."""

    model_config = ConfigDict(frozen=True)

    caption: str
    lyrics: str
    audio_duration: int
    """Seconds. The pipeline crashes on many fractions."""
    bpm: int
    key_scale: str
    time_signature: str
    thinking: bool
    batch_size: int
    seed: int
    """Of the first song; the next one's is one more."""
    audio_format: str
    vocal_language: str = "en"
    use_random_seed: bool = False

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.batch_size)

    @property
    def audio_seconds(self) -> int:
        """Of all songs."""
        return self.audio_duration * self.batch_size


def peer_crashes(duration: float) -> bool:
    """Whether the pipeline rounds this duration to two lengths, so that noise and context don't fit."""
    frames = math.ceil(duration * LATENT_RATE)
    return math.ceil(frames / LATENT_RATE * LATENT_RATE) != frames
