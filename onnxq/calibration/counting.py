"""Counting float32 values in equal bins, exactly.

fast-histogram computes (x − low) · (1 / w) in float64. With w a power of two and at most 2^13 bins that is
exact for every float32 x but the tiny negative ones: −1e-30 − low rounds to −low, and x is counted as if it
were zero. How many those are follows from the number of negative values, so they can be moved back.
"""

import numpy as np
from fast_histogram import histogram1d

from onnxq.graph.numeric import FloatArray, IntArray

__all__ = ["count_bins"]

CHUNK = 1 << 17
"""Elements counted at a time: few enough to stay in the second-level cache between the passes."""


def count_bins(values: FloatArray, width: float, first: int, bins: int) -> tuple[IntArray, int]:
    """How many values lie in each [i·w, (i+1)·w), i = first … first + bins − 1; and how many are zero.

    values: float32 [n], all of them inside. width: a power of two. first <= 0 < first + bins <= 2^13. Zeros
    are in no bin. Returns int64 [bins] and the number of zeros.
    """
    limits = (first * width, (first + bins) * width)
    counts, zeros, negatives = np.zeros(bins), 0, 0
    for start in range(0, values.size, CHUNK):
        chunk = values[start : start + CHUNK]
        counts += histogram1d(chunk, bins, limits)
        zeros += chunk.size - int(np.count_nonzero(chunk != 0))
        negatives += int(np.count_nonzero(chunk < 0)) if first < 0 else 0
    exact = counts.astype(np.int64)
    exact[-first] -= zeros
    if first < 0:
        lost = negatives - int(exact[:-first].sum())
        exact[-first - 1 : -first + 1] += (lost, -lost)
    return exact, zeros
