"""Defines the requests for both sides, and which durations the peers support."""

import math

from pydantic import BaseModel, ConfigDict

from configs.domain import LATENT_RATE


class SongRequest(BaseModel):
    """The fields of the job API that both sides receive.

    Metadata is given, so the language model writes codes only.
    """

    model_config = ConfigDict(frozen=True)

    caption: str
    lyrics: str
    audio_duration: int
    """Duration in whole seconds. The pipeline crashes on many fractions."""
    bpm: int
    key_scale: str
    time_signature: str
    thinking: bool
    batch_size: int
    seed: int
    """Seed of the first song. Each further song has the next number."""
    audio_format: str
    vocal_language: str = "en"
    use_random_seed: bool = False
    sampling: str = "2026-01"
    """The sampling of the server. The pipeline does not correct steps, as newer ones do."""

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.batch_size)

    @property
    def audio_seconds(self) -> int:
        """Return the seconds of audio of all songs."""
        return self.audio_duration * self.batch_size


def peer_crashes(duration: float) -> bool:
    """Return whether the pipeline rounds this duration to two lengths.

    Noise and context then do not match.
    """
    frames = math.ceil(duration * LATENT_RATE)
    return math.ceil(frames / LATENT_RATE * LATENT_RATE) != frames
