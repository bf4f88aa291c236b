"""Facts about ACE-Step 1.5 that more than one package needs. This module must not import torch."""

import math
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Literal

SAMPLE_RATE = 48_000
"""Sample rate of every waveform inside the server, in Hz; all of them are stereo."""
AUDIO_CHANNELS = 2
LATENT_RATE = 25
"""Latent frames per second."""
SAMPLES_PER_LATENT = SAMPLE_RATE // LATENT_RATE
"""Samples per latent frame, which is the hop of the VAE."""
CODE_RATE = 5
"""Audio codes per second; this is the 5 Hz in "5Hz LM"."""
LATENTS_PER_CODE = LATENT_RATE // CODE_RATE
CODE_COUNT = 64_000
"""Size of the FSQ codebook with levels [8, 8, 8, 5, 5, 5]. The LM's vocabulary has 65,535 code tokens."""
CODE_TOKEN = re.compile(r"<\|audio_code_([0-9]{1,9})\|>")
"""A code as the LM writes it and the API takes and shows it; group 1 is its number."""
CODE_TOKEN_PREFIX = "<|audio_code_"
"""All code tokens of the LM's vocabulary begin with this, and no other token does."""
MIN_LATENT_FRAMES = 128
"""The shortest sequence that the DiT runs on (5.12 s). Shorter songs are cropped after decoding."""

MIN_BPM, MAX_BPM = 30, 300
MIN_LM_DURATION, MAX_LM_DURATION = 10, 600
"""Range of the durations that the LM can write, in seconds."""

TIME_SIGNATURES = {"2": "2/4", "3": "3/4", "4": "4/4", "6": "6/8"}
"""The time signatures that the LM can write: its own spelling -> the usual one."""

# fmt: off
LANGUAGES = (
    "ar", "az", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hr",
    "ht", "hu", "id", "is", "it", "ja", "ko", "la", "lt", "ms", "ne", "nl", "no", "pa", "pl", "pt", "ro",
    "ru", "sa", "sk", "sr", "sv", "sw", "ta", "te", "th", "tl", "tr", "uk", "ur", "vi", "yue", "zh",
    "unknown",
)
# fmt: on
"""Languages of lyrics that the LM can write; the metadata grammar allows these only."""

INSTRUMENTAL = "[Instrumental]"
"""The lyrics of a song without vocals."""
NO_USER_INPUT = "NO USER INPUT"
"""The user message that the LM's classifier-free guidance was trained with."""


class Task(StrEnum):
    """A task that the DiT was trained for."""

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
"""Tracks that the DiT was trained to generate, extract and add."""

TRACK_INSTRUCTIONS = {
    Task.LEGO: "Generate the {tracks} track based on the audio context:",
    Task.EXTRACT: "Extract the {tracks} track from the audio:",
    Task.COMPLETE: "Complete the input track with {tracks}:",
}
"""The sentence of a task on named tracks. `{tracks}` is filled in by `track_names`."""


def track_names(tracks: Iterable[str]) -> str:
    """Tracks in the spelling of TRACK_INSTRUCTIONS."""
    return " | ".join(track.upper() for track in tracks)


SamplingVersion = Literal["2026-01", "2026-08"]
"""The rules by which the original of that month turns a request into steps and corrects them.

2026-01: turbo models run their trained schedule whatever is asked for, base models ignore `timesteps`, and no
step is corrected. 2026-08: turbo models run the steps and the shift that are asked for, base models take
`timesteps`, and each step of a turbo model is corrected in the wavelet domain unless the request says no.
"""
EARLIER_SAMPLING: SamplingVersion = "2026-01"
NEWEST_SAMPLING: SamplingVersion = "2026-08"


def code_token(code: int) -> str:
    """The name of `code` in the LM's vocabulary, which the API shows, too."""
    return f"{CODE_TOKEN_PREFIX}{code}|>"


def latent_frames(seconds: float) -> int:
    """Latent frames [T] that the DiT denoises for a song of `seconds` (contract §1.4).

    Rounding to 6 digits keeps floating-point noise from adding a frame.
    """
    return max(MIN_LATENT_FRAMES, math.ceil(round(seconds * LATENT_RATE, 6)))


def sample_count(seconds: float) -> int:
    """Number of samples per channel of the finished file (contract §1.4)."""
    return round(seconds * SAMPLE_RATE)


def code_count(seconds: float) -> int:
    """Number of audio codes that the LM writes for a song of `seconds` (contract §1.3)."""
    return math.ceil(round(seconds * CODE_RATE, 6))
