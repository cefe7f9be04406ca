"""Depthwise convolutions as convolutions of a few larger groups.

ONNX Runtime multiplies one small matrix for each group. With six groups as one, whose weight is zero off the
diagonal, it multiplies six times as many numbers in less time; the sums are the same. Of 2 to 16 together, 4
and 6 were the fastest.
"""

import numpy as np

from onnxq.graph.numeric import IntArray

__all__ = ["regrouped"]

TOGETHER = (6, 4, 2)
LARGEST_WINDOW = 32
"""Where a window has more elements, the products with zero cost more than is won."""


def regrouped(codes: IntArray, zero_point: int, group: int) -> tuple[IntArray, int]:
    """A weight [C_out, 1, …] of ``group`` groups with several of them as one, and how many there are then."""
    outputs, inputs, *kernel = codes.shape
    number = next((n for n in TOGETHER if group % n == 0), 1)
    if inputs != 1 or group == 1 or int(np.prod(kernel)) > LARGEST_WINDOW:
        return codes, group
    wide = np.full((outputs, number, *kernel), zero_point, codes.dtype)
    own = np.arange(outputs) // (outputs // group) % number
    wide[np.arange(outputs), own] = codes[:, 0]
    return wide, group // number
