"""The squared error that quantizing a histogram with given ranges makes: exactly, and by prefix sums."""

import numpy as np

from onnxq.calibration.histogram import Histogram
from onnxq.graph.numeric import FloatArray
from onnxq.quant.formats import IntFormat
from onnxq.quant.qparams import qparams_from_range

__all__ = ["Surrogate", "squared_error"]

COARSE = 4
"""Steps at least this many bins wide see rounding at the bins' middles; finer ones get step²/12."""

BLOCK = 1 << 20


def squared_error(
    histogram: Histogram, low: FloatArray, high: FloatArray, fmt: IntFormat, symmetric: bool
) -> FloatArray:
    """Mean of (x' − x)² over all elements for each of k ranges, float64 [k].

        x' = (clip(round(x / s) + z, qmin, qmax) − z) · s     with s, z as the file would hold them

    Zeros have no error. Where s is finer than four bins, rounding inside the range costs s² / 12.
    """
    x, w = histogram.points()
    parameters = qparams_from_range(low, high, fmt, symmetric=symmetric)
    scales, zeros = parameters.scale.astype(np.float64), parameters.zero_point.astype(np.float64)
    errors = np.empty(scales.shape)
    rows = max(1, BLOCK // x.size)
    for start in range(0, scales.size, rows):
        part = slice(start, start + rows)
        s, z = scales[part, None], zeros[part, None]
        limited = np.clip(x, (fmt.qmin - z) * s, (fmt.qmax - z) * s)
        rounded = np.clip(np.rint(x / s) + z, fmt.qmin, fmt.qmax) - z
        coarse = (rounded * s - x) ** 2
        fine = (limited - x) ** 2 + np.where((limited == x) & (x != 0), s * s / 12, 0.0)
        errors[part] = np.where(s >= COARSE * histogram.width, coarse, fine) @ w
    mean: FloatArray = errors / histogram.count
    return mean


class Surrogate:
    """An estimate of :func:`squared_error` at a cost that does not depend on the number of bins.

        E(low, high) ≈ s²/12 · #{low <= x <= high, x ≠ 0} + Σ_{x > high} (x − high)² + Σ_{x < low} (low − x)²

    Both sums come from prefix sums of 1, x and x².
    """

    def __init__(self, histogram: Histogram) -> None:
        self._x, w = histogram.points()
        self._w = np.where(self._x == 0, 0.0, w)
        powers = np.stack([self._w, self._w * self._x, self._w * self._x**2])
        self._below = np.concatenate([np.zeros((3, 1)), powers.cumsum(axis=1)], axis=1)

    def __call__(self, low: FloatArray, high: FloatArray, steps: int) -> FloatArray:
        """The estimated sum of squared errors of each range, cut into ``steps`` equal steps."""
        i, j = np.searchsorted(self._x, low, "left"), np.searchsorted(self._x, high, "right")
        total = self._below[:, -1]
        under, inside, over = self._below[:, i], self._below[0, j] - self._below[0, i], None
        over = total.reshape(3, *(1,) * low.ndim) - self._below[:, j]
        step = (high - low) / steps
        cut = _spread(under, low) + _spread(over, high)
        error: FloatArray = step * step / 12 * inside + np.maximum(cut, 0.0)
        return error


def _spread(sums: FloatArray, at: FloatArray) -> FloatArray:
    """Σ w (x − at)² from Σ w, Σ w x and Σ w x²."""
    spread: FloatArray = sums[2] - 2 * at * sums[1] + at * at * sums[0]
    return spread
