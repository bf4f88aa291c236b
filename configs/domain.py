"""Facts about ACE-Step 1.5 that more than one room needs. No torch here."""

import math
from collections.abc import Iterable
from enum import StrEnum

SAMPLE_RATE = 48_000
"""Hz, of every waveform inside the server (stereo)."""
AUDIO_CHANNELS = 2
LATENT_RATE = 25
"""Latent frames a second."""
SAMPLES_PER_LATENT = SAMPLE_RATE // LATENT_RATE
"""Samples a latent frame, the hop of the VAE."""
CODE_RATE = 5
"""Audio codes a second: what "5Hz LM" means."""
LATENTS_PER_CODE = LATENT_RATE // CODE_RATE
CODE_COUNT = 64_000
"""Codes that the FSQ codebook [8, 8, 8, 5, 5, 5] knows. The LM's vocabulary has 65,535 code tokens."""
MIN_LATENT_FRAMES = 128
"""Shortest sequence the DiT is run on (5.12 s); shorter songs are cropped after decoding."""

MIN_BPM, MAX_BPM = 30, 300
MIN_LM_DURATION, MAX_LM_DURATION = 10, 600
"""Seconds; the durations that the LM can write."""

TIME_SIGNATURES = {"2": "2/4", "3": "3/4", "4": "4/4", "6": "6/8"}
"""The LM's token -> what musicians write."""

# fmt: off
LANGUAGES = (
    "ar", "az", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hr",
    "ht", "hu", "id", "is", "it", "ja", "ko", "la", "lt", "ms", "ne", "nl", "no", "pa", "pl", "pt", "ro",
    "ru", "sa", "sk", "sr", "sv", "sw", "ta", "te", "th", "tl", "tr", "uk", "ur", "vi", "yue", "zh",
    "unknown",
)
# fmt: on
"""Lyric languages that the LM can write, as in the metadata grammar."""

INSTRUMENTAL = "[Instrumental]"
"""How lyrics say that nobody sings."""


class Task(StrEnum):
    """What the DiT is asked to do."""

    TEXT2MUSIC = "text2music"
    COVER = "cover"
    REPAINT = "repaint"
    LEGO = "lego"
    EXTRACT = "extract"
    COMPLETE = "complete"


SOURCE_TASKS = frozenset(Task) - {Task.TEXT2MUSIC}
"""Tasks that work on a source recording."""
WINDOW_TASKS = frozenset({Task.REPAINT, Task.LEGO})
"""Tasks that renew a part of the source and keep the rest."""

INSTRUCTIONS = {
    Task.TEXT2MUSIC: "Fill the audio semantic mask based on the given conditions:",
    Task.COVER: "Generate audio semantic tokens based on the given conditions:",
    Task.REPAINT: "Repaint the mask area based on the given conditions:",
    Task.LEGO: "Generate the track based on the audio context:",
    Task.EXTRACT: "Extract the track from the audio:",
    Task.COMPLETE: "Complete the input track:",
}
"""The sentence that the DiT was trained on for each task. A job with audio codes uses the cover sentence."""

TRACKS = (
    "woodwinds",
    "brass",
    "fx",
    "synth",
    "strings",
    "percussion",
    "keyboard",
    "guitar",
    "bass",
    "drums",
    "backing_vocals",
    "vocals",
)
"""Tracks that the DiT was trained to make, to take out and to add."""

TRACK_INSTRUCTIONS = {
    Task.LEGO: "Generate the {tracks} track based on the audio context:",
    Task.EXTRACT: "Extract the {tracks} track from the audio:",
    Task.COMPLETE: "Complete the input track with {tracks}:",
}
"""The sentence of a task on named tracks, which stand in it as `track_names` writes them."""


def track_names(tracks: Iterable[str]) -> str:
    """Tracks as TRACK_INSTRUCTIONS name them."""
    return " | ".join(track.upper() for track in tracks)


def latent_frames(seconds: float) -> int:
    """Latent frames [T] that the DiT denoises for a song of `seconds` (contract §1.4)."""
    return max(MIN_LATENT_FRAMES, math.ceil(round(seconds * LATENT_RATE, 6)))


def sample_count(seconds: float) -> int:
    """Samples per channel of the finished file (contract §1.4)."""
    return round(seconds * SAMPLE_RATE)


def code_count(seconds: float) -> int:
    """Audio codes the LM writes for a song of `seconds` (contract §1.3)."""
    return math.ceil(round(seconds * CODE_RATE, 6))
