"""Whether all numbers in a file are finite, without torch: by their bits, block by block."""

import numpy as np

from deployments.checkpoints.adapters.header import WIDTHS, Header

_EXPONENTS = {"F32": 0x7F80 << 16, "BF16": 0x7F80, "F16": 0x7C00}
"""The bits of each type's exponent. All of them are set in infinities and in numbers that are none."""
_BLOCK = 1 << 22


def first_not_finite(content: bytes, header: Header) -> str | None:
    """The key of the first tensor with a number that is not finite; None where all are."""
    for key, tensor in header.tensors.items():
        width, exponent = WIDTHS[tensor.dtype], _EXPONENTS[tensor.dtype]
        numbers = np.frombuffer(
            content, f"<u{width}", (tensor.end - tensor.start) // width, offset=tensor.start
        )
        mask = numbers.dtype.type(exponent)
        for start in range(0, len(numbers), _BLOCK):
            if ((numbers[start : start + _BLOCK] & mask) == mask).any():
                return key
    return None
