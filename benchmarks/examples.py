"""Makes eight example songs, one led by each family of instruments, and their spectrograms.

    python -m benchmarks.examples docs/songs --url http://127.0.0.1:8001

The program asks a running server for the first requests of `benchmarks.adherence`. It writes the songs as
mp3, `spectrograms.png`, and a list of the requests. It needs the extras `training` and `dev`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import librosa
import matplotlib as mpl
import numpy as np
import soundfile
from matplotlib import pyplot

from benchmarks.adherence import Request, requests
from benchmarks.song_server import Order, Samples, songs
from configs.domain import SAMPLE_RATE
from training.songs.genres import FAMILIES

mpl.use("agg")

HOP = 1024
MEL_BANDS = 128
QUIETEST = -70.0
"""Quietest level of the pictures, in decibels relative to the loudest."""
HIGHEST = 16_000
"""Highest frequency of the pictures in Hz."""


def draw(asked: Sequence[Request], made: Sequence[Samples], file: Path) -> None:
    """Draw a mel spectrogram of each song."""
    figure, rows = pyplot.subplots(len(made) // 2, 2, figsize=(11, 1.9 * len(made) / 2), sharex=True)
    for axes, request, samples in zip(rows.flat, asked, made, strict=True):
        power = librosa.feature.melspectrogram(
            y=samples.mean(axis=0), sr=SAMPLE_RATE, hop_length=HOP, n_mels=MEL_BANDS, fmax=HIGHEST
        )
        level = librosa.power_to_db(power, ref=np.max)
        seconds = samples.shape[1] / SAMPLE_RATE
        axes.imshow(level, origin="lower", aspect="auto", vmin=QUIETEST, extent=(0, seconds, 0, MEL_BANDS))
        marks = (100, 500, 2000, 8000)
        axes.set_yticks(MEL_BANDS * librosa.hz_to_mel(marks) / librosa.hz_to_mel(HIGHEST), marks)
        axes.set_title(_asked(request), fontsize=8)
    figure.supxlabel("seconds", fontsize=8)
    figure.supylabel("Hz", fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=80)


def _asked(request: Request) -> str:
    wanted = request.description
    return f"{wanted.lead}, {wanted.bpm} bpm, {wanted.key.name}, {'drums' if wanted.drums else 'no drums'}"


def main() -> None:
    """Make the songs and write the files."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("folder", type=Path)
    options.add_argument("--url", required=True, help="of a running server")
    chosen = options.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    # Every second song has drums.
    both = requests(2 * len(FAMILIES))
    asked = [both[index + len(FAMILIES) * (index % 2)] for index in range(len(FAMILIES))]
    made = [
        song.samples
        for song in songs(chosen.url, (Order({**request.body(), "thinking": True}, {}) for request in asked))
    ]
    lines = ["# Songs of the embedded model", "", "![spectrograms](spectrograms.png)", ""]
    for request, samples in zip(asked, made, strict=True):
        name = f"{request.description.lead}.mp3"
        soundfile.write(chosen.folder / name, samples.T, SAMPLE_RATE, format="MP3")
        lines.append(f"- [{name}]({name}): {request.caption} ({_asked(request)})")
    draw(asked, made, chosen.folder / "spectrograms.png")
    (chosen.folder / "README.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
