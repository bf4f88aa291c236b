"""Turns notes into sound: plays the parts, places them in the stereo picture and adds a room."""

from collections.abc import Sequence

import numpy as np

from configs.domain import SAMPLE_RATE
from training.songs.composing import Hit, Note, Score
from training.songs.description import Description
from training.songs.drums import kit
from training.songs.instruments import Patch, Wave, patch, tone, wave_of

_FADE_SECONDS = 0.35
_LENGTH_STEP = 0.125
"""Lengths are rounded to this many seconds, so that notes of similar length share one synthesised tone."""
_PARTS = {"lead": 0.34, "chords": 0.14, "bass": 0.34}
_DRUMS_LEVEL = 0.42
_LOUDEST = 0.89


def mix(description: Description, score: Score, rng: np.random.Generator) -> Wave:
    """Return [2, samples] at 48 kHz, exactly `description.seconds` long."""
    samples = description.seconds * SAMPLE_RATE
    patches = {
        "lead": patch(description.lead, rng),
        "chords": patch(description.accompaniment, rng),
        "bass": patch("bass", rng),
    }
    dry = np.zeros((2, samples), np.float32)
    sent = np.zeros(samples, np.float32)
    side = rng.choice((-1, 1))
    places = {"lead": side * rng.uniform(0, 0.25), "chords": -side * rng.uniform(0.1, 0.5), "bass": 0.0}
    for name, level in _PARTS.items():
        part = _play(getattr(score, name), patches[name], samples, rng)
        part *= np.float32(level * rng.uniform(0.85, 1.15))
        dry += _panned(part, places[name])
        if name != "bass":
            sent += part
    if description.kit is not None:
        drums = _beat(score.drums, kit(description.kit, rng), samples)
        drums *= np.float32(_DRUMS_LEVEL * rng.uniform(0.8, 1.15))
        dry += _panned(drums, 0.0)
        sent += np.float32(0.3) * drums
    wet = _room(sent, rng.uniform(0.5, 1.4), rng)
    mixed = dry + np.float32(rng.uniform(0.08, 0.3)) * wet
    fade = round(_FADE_SECONDS * SAMPLE_RATE)
    mixed[:, -fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return wave_of(mixed * np.float32(_LOUDEST / np.abs(mixed).max()))


def _play(notes: Sequence[Note], patch: Patch, samples: int, rng: np.random.Generator) -> Wave:
    """Return [samples]: all notes of one part."""
    part = np.zeros(samples, np.float32)
    tones: dict[tuple[int, float], Wave] = {}
    release = np.exp(-np.arange(round(3 * patch.release * SAMPLE_RATE)) / (patch.release * SAMPLE_RATE))
    for note in notes:
        start = round(note.onset * SAMPLE_RATE)
        if start >= samples:
            continue
        if patch.decay is not None:
            # A tone that decays by itself may be longer than a note. One tone serves notes of all lengths and
            # is faded out at the end of each.
            held = _held_length(tones, note, patch, rng)
            wave = held[: round(note.length * SAMPLE_RATE) + release.size].copy()
            wave[-release.size :] *= release[-wave.size :]
        else:
            length = max(_LENGTH_STEP, _LENGTH_STEP * round(note.length / _LENGTH_STEP))
            key = note.pitch, length
            if key not in tones:
                tones[key] = tone(patch, note.pitch, length, rng)
            wave = tones[key]
        end = min(samples, start + wave.size)
        part[start:end] += np.float32(note.level) * wave[: end - start]
    return part


def _held_length(
    tones: dict[tuple[int, float], Wave], note: Note, patch: Patch, rng: np.random.Generator
) -> Wave:
    """Return a tone of the note's pitch that is at least as long as the note."""
    known = tones.get((note.pitch, 0.0))
    if known is None or known.size < round(note.length * SAMPLE_RATE):
        known = tones[note.pitch, 0.0] = tone(patch, note.pitch, 1.5 * note.length, rng)
    return known


def _beat(hits: Sequence[Hit], drums: dict[str, Wave], samples: int) -> Wave:
    """Return [samples]: all strokes of the drums."""
    part = np.zeros(samples, np.float32)
    for hit in hits:
        start = round(hit.onset * SAMPLE_RATE)
        wave = drums[hit.drum][: max(0, samples - start)]
        part[start : start + wave.size] += np.float32(hit.level) * wave
    return part


def _panned(part: Wave, place: float) -> Wave:
    """Return [2, samples] from [samples] with constant power. A place of -1 is left, 1 is right."""
    angle = (place + 1) * np.pi / 4
    return np.stack([np.float32(np.cos(angle)) * part, np.float32(np.sin(angle)) * part])


def _room(sent: Wave, seconds: float, rng: np.random.Generator) -> Wave:
    """Return [2, samples]: the echo of `sent` in a room with this reverberation time (to -60 dB).

    It differs on each side. It is computed at half the sample rate, because air absorbs high frequencies
    anyway.
    """
    slow = sent.reshape(-1, 2).mean(axis=1)
    length = round(seconds * SAMPLE_RATE / 2)
    ringing = np.exp(-6.9 * np.arange(length, dtype=np.float32) / length)
    echoes = rng.standard_normal((2, length), dtype=np.float32) * ringing
    echoes = (echoes + np.roll(echoes, 1, axis=1)) / np.sqrt(2 * (echoes**2).sum(axis=1, keepdims=True))
    size = _transform_size(slow.size + length)
    spectrum = np.fft.rfft(slow, size) * np.fft.rfft(echoes, size)
    rung = np.repeat(np.fft.irfft(spectrum, size)[:, : slow.size], 2, axis=1)
    return wave_of(0.5 * (rung + np.roll(rung, 1, axis=1)))


def _transform_size(samples: int) -> int:
    """Return a length slightly above `samples` that has small prime factors only."""
    step = 1 << max(0, samples.bit_length() - 5)
    return -(-samples // step) * step
