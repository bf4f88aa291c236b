"""Downmix of up to eight channels to stereo according to ITU-R BS.775.

The front channels stay at their level, the centre and the surround channels join them 3 dB below, and the
low-frequency effects are left out. Mono goes to both sides. Channels are identified by FFmpeg's names, in any
order; where a file does not name them, the FLAC order (RFC 9639) for their number is assumed.
"""

from functools import cache

import numpy as np

from deployments.common.stored_recordings import Samples

MAX_CHANNELS = 8

_HALF_POWER = 0.5**0.5
_LEFT, _RIGHT = (1.0, 0.0), (0.0, 1.0)
_CENTRE = (_HALF_POWER, _HALF_POWER)
_LEFT_BEHIND, _RIGHT_BEHIND = (_HALF_POWER, 0.0), (0.0, _HALF_POWER)
_CENTRE_BEHIND = (0.5, 0.5)
_UNHEARD = (0.0, 0.0)

_GAINS = {
    **dict.fromkeys(("FL", "DL", "WL", "FLC"), _LEFT),
    **dict.fromkeys(("FR", "DR", "WR", "FRC"), _RIGHT),
    **dict.fromkeys(("FC", "TFC", "TC", "BFC"), _CENTRE),
    **dict.fromkeys(("BL", "SL", "SDL", "TFL", "TSL", "TBL", "BFL", "SSL", "TTL"), _LEFT_BEHIND),
    **dict.fromkeys(("BR", "SR", "SDR", "TFR", "TSR", "TBR", "BFR", "SSR", "TTR"), _RIGHT_BEHIND),
    **dict.fromkeys(("BC", "TBC"), _CENTRE_BEHIND),
    **dict.fromkeys(("LFE", "LFE2"), _UNHEARD),
    # Ambisonics (ACN, SN3D) becomes two cardioids to the left and right, which need only these two harmonics.
    "AMBI0": (0.5, 0.5),
    "AMBI1": (0.5, -0.5),
    **{f"AMBI{harmonic}": _UNHEARD for harmonic in range(2, MAX_CHANNELS)},
}
"""Gain of a channel on the left and on the right."""

_UNNAMED = {
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}


def stereo(samples: Samples, names: tuple[str, ...]) -> Samples:
    """Samples [channels, n] of 1 to MAX_CHANNELS channels with FFmpeg's names -> [2, n].

    Two channels are left and right, whatever their names. The sum of more than two may exceed full scale.
    """
    if len(names) == 1:
        return np.repeat(samples, 2, axis=0)
    if len(names) == 2:
        return samples
    return _matrix(names) @ samples


@cache
def _matrix(names: tuple[str, ...]) -> Samples:
    known = all(name in _GAINS for name in names) and len(set(names)) == len(names)
    return np.array([_GAINS[name] for name in (names if known else _UNNAMED[len(names)])], np.float32).T
