"""Ranges of least squared error: over all ranges, over power-of-two scales, and by alternating refinement."""

from dataclasses import dataclass

import numpy as np

from onnxq.calibration.histogram import Histogram
from onnxq.calibration.ranges.base import HistogramMethod, Range
from onnxq.calibration.ranges.error import Surrogate, squared_error
from onnxq.graph.numeric import FloatArray
from onnxq.quant.formats import IntFormat
from onnxq.quant.qparams import qparams_from_range

__all__ = ["Admm", "Mse", "Pow2"]

GRID = 128
SHORTLIST = 32


@dataclass(frozen=True)
class Mse(HistogramMethod):
    """Minimize Σ (x' − x)², x' being x quantized with the range.

    First an estimate by prefix sums on a grid of 128 ends a side (both ends vary unless the data has one
    sign or the format is symmetric), then the true error of the 32 best, then of a grid four times finer
    around the winner, twice. The full range is always among the candidates.
    """

    name = "mse"

    def choose(self, histogram: Histogram, fmt: IntFormat, symmetric: bool) -> Range:
        lows, highs = _grid(histogram, symmetric)
        estimate = Surrogate(histogram)(lows, highs, fmt.levels - 1)
        short = np.append(np.argsort(estimate, kind="stable")[:SHORTLIST], lows.size - 1)
        low, high = _best(histogram, lows[short], highs[short], fmt, symmetric)
        step_low, step_high = min(histogram.min, 0.0) / GRID, max(histogram.max, 0.0) / GRID
        for _ in range(2):
            moves = np.linspace(-1, 1, 9)
            near_low, near_high = np.meshgrid(low + moves * step_low, high + moves * step_high)
            kept = (near_low.ravel() <= 0) & (near_high.ravel() >= 0)
            low, high = _best(histogram, near_low.ravel()[kept], near_high.ravel()[kept], fmt, symmetric)
            step_low, step_high = step_low / 4, step_high / 4
        return low, high


@dataclass(frozen=True)
class Pow2(HistogramMethod):
    """The power-of-two scale of least squared error, for targets that requantize by shifting.

        s = 2^⌈log2 s_full⌉ · 2^−k,   k = 0 … 8,   s_full the scale of the full range

    The range returned is exactly what the codes cover at that scale.
    """

    name = "pow2"

    def choose(self, histogram: Histogram, fmt: IntFormat, symmetric: bool) -> Range:
        full = qparams_from_range(histogram.min, histogram.max, fmt, symmetric=symmetric)
        top = np.ceil(np.log2(np.float64(full.scale)))
        scale = np.exp2(top - np.arange(9.0))
        low, high = _covered(histogram, scale, fmt, symmetric)
        return _best(histogram, low, high, fmt, symmetric)


@dataclass(frozen=True)
class Admm(HistogramMethod):
    """Alternate between the best codes for a scale and the best scale for the codes, to a fixed point.

        q = clip(round(x / s), a, b)        s = Σ x q / Σ q²

    a and b are the lowest and highest code counted from the zero point. Each round lowers Σ (s q − x)²; it
    starts from sixteen shrinkings of the full range, as the fixed points are local, and the best one wins.
    Source: Leng et al., "Extremely low bit neural network: squeeze the last bit out with ADMM", AAAI 2018,
    section 3.2.
    """

    name = "admm"

    def choose(self, histogram: Histogram, fmt: IntFormat, symmetric: bool) -> Range:
        x, w = histogram.points()
        full = qparams_from_range(histogram.min, histogram.max, fmt, symmetric=symmetric)
        a, b = fmt.qmin - float(full.zero_point), fmt.qmax - float(full.zero_point)
        if symmetric:
            a, b = -_reach(fmt), _reach(fmt)
        scale = float(full.scale) * np.linspace(1, 1 / 16, 16)
        for _ in range(30):
            codes = np.clip(np.rint(x / scale[:, None]), a, b)
            squares = (codes * codes) @ w
            better = np.where(squares > 0, (codes * x) @ w / np.where(squares > 0, squares, 1.0), scale)
            if np.array_equal(better, scale):
                break
            scale = better
        return _best(histogram, a * scale, b * scale, fmt, symmetric)


def _grid(histogram: Histogram, symmetric: bool) -> tuple[FloatArray, FloatArray]:
    """Candidate ranges; the last one is the full range."""
    part = np.arange(1, GRID + 1) / GRID
    if symmetric:
        high = part * max(-histogram.min, histogram.max)
        return -high, high
    if histogram.min >= 0 or histogram.max <= 0:
        return part * min(histogram.min, 0.0), part * max(histogram.max, 0.0)
    low, high = np.meshgrid(part * histogram.min, part * histogram.max)
    return low.ravel(), high.ravel()


def _covered(
    histogram: Histogram, scale: FloatArray, fmt: IntFormat, symmetric: bool
) -> tuple[FloatArray, FloatArray]:
    """What the codes reach at each scale, with the zero point that shares them out as the data lies."""
    if symmetric:
        return -scale * _reach(fmt), scale * _reach(fmt)
    share = max(-histogram.min, 0.0) / (max(histogram.max, 0.0) + max(-histogram.min, 0.0))
    below = np.rint(share * (fmt.levels - 1))
    return -below * scale, (fmt.levels - 1 - below) * scale


def _reach(fmt: IntFormat) -> float:
    """The largest code counted from a zero point in the middle, as symmetric scales use it."""
    middle = 0 if fmt.signed else 1 << (fmt.bits - 1)
    return float(min(fmt.qmax - middle, middle - fmt.qmin))


def _best(histogram: Histogram, low: FloatArray, high: FloatArray, fmt: IntFormat, symmetric: bool) -> Range:
    best = int(np.argmin(squared_error(histogram, low, high, fmt, symmetric)))
    return float(low[best]), float(high[best])
