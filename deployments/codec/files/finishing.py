"""From the decoder's waveform to the samples of the file: length, level, splice and fades (contract §1.4)."""

import numpy as np

from configs.domain import SAMPLE_RATE, sample_count
from deployments.codec.files.loudness import FULL_SCALE, faded, limited, magnitude, normalised, peak
from deployments.codec.files.recordings import padded
from deployments.common.errors import JobError
from deployments.common.messages import Finish, Splice
from deployments.common.stored_recordings import Samples

_INAUDIBLE_PEAK = 1e-5
"""At or below this peak an output counts as silent and the song as failed, as in the original model."""


def finished_song(waveform: Samples, seconds: float, finish: Finish) -> Samples:
    """The first round(48,000 × seconds) samples of a new song [2, samples], with its level and its fades."""
    song = _cropped(waveform, seconds)
    if finish.peak_db is None:
        levelled = limited(song, FULL_SCALE)
    else:
        levelled = normalised(song, magnitude(finish.peak_db))
    return _with_fades(levelled, finish)


def finished_repaint(
    waveform: Samples, seconds: float, source: Samples, splice: Splice, finish: Finish
) -> Samples:
    """The source [2, samples] with its samples in the window of `splice` replaced by those of `waveform`.

    The source keeps its level. The new part is turned down by the factor by which the source was turned up
    for the model, and further to the peak of `finish` if it is louder. The window has a crossfade before and
    after it. Outside of these the samples are the source's own, and beyond the source's end they are silence.
    Fades are those of the whole song.
    """
    ceiling = FULL_SCALE if finish.peak_db is None else magnitude(finish.peak_db)
    renewed = _cropped(waveform, seconds) / np.float32(splice.gain)
    length = renewed.shape[1]
    kept = padded(source, splice.pad_left, splice.pad_right)[:, :length]
    kept = np.pad(kept, ((0, 0), (0, length - kept.shape[1])))
    share = _share_of_new(length, splice)
    first, last = np.flatnonzero(share)[[0, -1]]
    part = slice(first, last + 1)
    song = kept.copy()
    song[:, part] = share[part] * limited(renewed[:, part], ceiling) + (1 - share[part]) * kept[:, part]
    return _with_fades(song, finish)


def _with_fades(song: Samples, finish: Finish) -> Samples:
    fade_in, fade_out = sample_count(finish.fade_in), sample_count(finish.fade_out)
    return faded(song, fade_in, fade_out) if fade_in or fade_out else song


def _cropped(waveform: Samples, seconds: float) -> Samples:
    length = sample_count(seconds)
    if waveform.shape[1] < length:
        raise ValueError(f"{waveform.shape[1]} samples were decoded for a song of {length}")
    song = waveform[:, :length]
    if not np.isfinite(song).all():
        raise JobError("The model's output is not finite, so there is no sound to write.")
    if peak(waveform) <= _INAUDIBLE_PEAK:
        raise JobError("The model's output is silent.")
    return song


def _share_of_new(length: int, splice: Splice) -> Samples:
    """The share of the new part [length]: 1 inside the window, 0 outside, a linear crossfade between."""
    start = min(sample_count(splice.start), length - 1)
    end = min(max(sample_count(splice.end), start + 1), length)
    ramp_length = round(splice.crossfade * SAMPLE_RATE)
    ramp = np.linspace(0, 1, ramp_length + 2, dtype=np.float32)[1:-1]
    share = np.zeros(length, dtype=np.float32)
    share[start:end] = 1
    before, after = min(ramp_length, start), min(ramp_length, length - end)
    share[start - before : start] = ramp[ramp_length - before :]
    share[end : end + after] = ramp[::-1][:after]
    return share
