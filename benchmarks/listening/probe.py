"""Recognises the key, the leading instrument and drums of a recording with three linear probes.

`python -m benchmarks.listening.probe` trains them on songs that the training recipe renders, with seeds that
neither training nor the benchmark uses, and writes the file beside this one. It needs the extra `training`.
"""

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from benchmarks.listening.features import RATE, Features, Mono, features
from configs.domain import SAMPLE_RATE
from training.songs.description import Description
from training.songs.genres import FAMILIES
from training.songs.song import Purpose, song
from training.songs.theory import MODES, Key

PROBE_FILE = Path(__file__).with_name("probe.json")
TEACHING_SONGS = 1200
SECONDS = 10

_KEYS = tuple(Key(tonic, mode) for mode in MODES for tonic in range(12))
_DRUMS = (False, True)
_Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Heard:
    """The results of the probes."""

    key: Key
    family: str
    drums: bool


@dataclass(frozen=True)
class _Probe:
    """Logistic regression on standardised features."""

    mean: _Matrix
    scale: _Matrix
    weights: _Matrix
    """[classes, features]."""
    bias: _Matrix

    def __call__(self, vector: _Matrix) -> int:
        return int((self.weights @ ((vector - self.mean) / self.scale) + self.bias).argmax())


def hear(recording: Features) -> Heard:
    """Apply the probes to the features of a recording."""
    probes = _probes()
    return Heard(
        _KEYS[probes["key"](recording.pitch_classes.ravel())],
        FAMILIES[probes["family"](recording.timbre)],
        _DRUMS[probes["drums"](recording.timbre)],
    )


def mono(samples: npt.NDArray[np.float32]) -> Mono:
    """Convert samples [2, samples] at 48 kHz to [samples] at `RATE`."""
    resampled: Mono = soxr.resample(samples.mean(axis=0), SAMPLE_RATE, RATE)
    return resampled


@cache
def _probes() -> dict[str, _Probe]:
    stored = json.loads(PROBE_FILE.read_text())
    return {
        name: _Probe(**{field: np.array(values) for field, values in fields.items()})
        for name, fields in stored.items()
    }


def teach(numbers: Iterable[int]) -> dict[str, Any]:
    """Train the probes on songs with these numbers, and return the content of `PROBE_FILE`."""
    with ProcessPoolExecutor() as pool:
        lessons = list(pool.map(_lesson, numbers, chunksize=20))
    timbres = [heard.timbre for _, heard in lessons]
    return {
        "key": _fit(*_in_every_key(lessons)),
        "family": _fit(timbres, [FAMILIES.index(description.lead) for description, _ in lessons]),
        "drums": _fit(timbres, [_DRUMS.index(description.drums) for description, _ in lessons]),
    }


def _lesson(number: int) -> tuple[Description, Features]:
    made = song(Purpose.PROBE, number, SECONDS)
    return made.description, features(mono(made.audio))


def _in_every_key(lessons: Sequence[tuple[Description, Features]]) -> tuple[list[_Matrix], list[int]]:
    """Return every song as if transposed to all twelve tonics, so that the probe prefers none."""
    vectors, answers = [], []
    for description, heard in lessons:
        for up in range(12):
            vectors.append(np.roll(heard.pitch_classes, up, axis=1).ravel())
            answers.append(_KEYS.index(Key((description.key.tonic + up) % 12, description.key.mode)))
    return vectors, answers


def _fit(vectors: Sequence[_Matrix], answers: Sequence[int]) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression

    matrix = np.stack(vectors)
    mean, scale = matrix.mean(axis=0), matrix.std(axis=0) + 1e-6
    model = LogisticRegression(C=0.05, max_iter=2000).fit((matrix - mean) / scale, answers)
    weights, bias = model.coef_, model.intercept_
    if len(weights) == 1:  # For two classes scikit-learn returns a single row.
        weights, bias = np.vstack([0 * weights, weights]), np.append(0 * bias, bias)
    fields = {"mean": mean, "scale": scale, "weights": weights, "bias": bias}
    return {name: np.round(values, 5).tolist() for name, values in fields.items()}


if __name__ == "__main__":
    PROBE_FILE.write_text(json.dumps(teach(range(TEACHING_SONGS)), separators=(",", ":")) + "\n")
