"""The range whose quantized distribution is closest to the original in Kullback-Leibler divergence."""

from dataclasses import dataclass

import numpy as np

from onnxq.calibration.histogram import Histogram
from onnxq.calibration.ranges.base import HistogramMethod, Range, clip_to
from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.quant.formats import IntFormat

__all__ = ["Entropy", "divergences"]

MOST_CLIPPED = 0.1


@dataclass(frozen=True)
class Entropy(HistogramMethod):
    """Minimize KL(P ‖ Q) over thresholds t = i · w on |x|, for i from the number of levels to all bins.

        P = (h_0 … h_{i−2}, h_{i−1} + Σ_{j >= i} h_j) / Σ h          what lies beyond t is clipped to it
        Q = (h_0 … h_{i−1}) merged into L groups of ⌊i / L⌋ bins, the last takes the rest; each group's
            sum spread evenly over its occupied bins; normalized

    L is the number of codes for |x|: half of all, or all where the data has one sign and the format is not
    symmetric. Zeros do not take part: they are represented exactly at any range. With more levels than bins
    (beyond 11 bits) nothing is clipped; never more than a tenth of the elements, because P and Q also agree
    where almost everything is clipped into one bin.
    Source: Migacz, "8-bit inference with TensorRT", GTC 2017.
    """

    name = "entropy"

    def choose(self, histogram: Histogram, fmt: IntFormat, symmetric: bool) -> Range:
        one_sided = not symmetric and (histogram.min >= 0 or histogram.max <= 0)
        levels = fmt.levels if one_sided else fmt.levels // 2
        counts = histogram.magnitudes()
        if counts.size <= levels:
            return histogram.min, histogram.max
        clipped = 1 - counts.cumsum()[levels - 1 :] / counts.sum()
        best = levels + int(np.argmin(np.where(clipped <= MOST_CLIPPED, divergences(counts, levels), np.inf)))
        return clip_to(histogram, -best * histogram.width, best * histogram.width)


def divergences(counts: IntArray, levels: int) -> FloatArray:
    """KL(P ‖ Q) in nats for every number of bins from ``levels`` to all, float64 [len(counts) − levels + 1].

    With S_g the sum and N_g the occupied bins of group g, C_i = Σ_{j<i} h_j and T = Σ h, the terms of one
    group have the same q = S_g / (N_g · C_i), so that

        T · KL = Σ_j p_j log p_j − Σ_g S_g log(S_g / N_g) + T log(C_i / T) − out · log q_last

    The first L − 1 groups depend on i only through ⌊i / L⌋, so prefix sums give each candidate in O(1).
    An outlier where Q is zero makes the divergence infinite.
    """
    h = counts.astype(np.float64)
    ends = np.arange(levels, h.size + 1)
    mass, occupied, self_terms = (np.append(0.0, v.cumsum()) for v in (h, h > 0, _xlogx(h)))
    total, inside = mass[-1], mass[ends]
    outside = total - inside
    group = ends // levels
    grouped = np.array([_groups(mass, occupied, levels, m) for m in range(group[-1] + 1)])[group]
    start = (levels - 1) * group
    rest, rest_occupied = inside - mass[start], occupied[ends] - occupied[start]
    last = h[ends - 1]
    p_terms = self_terms[ends] - _xlogx(last) + _xlogx(last + outside)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(rest > 0, np.log(rest / rest_occupied), 0.0)
        scaled = p_terms - grouped - (rest + outside) * spread + total * np.log(inside / total)
    impossible = (outside > 0) & (last == 0)
    return np.where(impossible | (inside == 0), np.inf, scaled / total)


def _groups(mass: FloatArray, occupied: FloatArray, levels: int, width: int) -> float:
    """Σ S_g log(S_g / N_g) over the first levels − 1 groups of ``width`` bins."""
    edges = np.arange(levels) * width
    sums, filled = np.diff(mass[edges]), np.diff(occupied[edges])
    used = sums > 0
    return float((sums[used] * np.log(sums[used] / filled[used])).sum())


def _xlogx(x: FloatArray) -> FloatArray:
    return x * np.log(np.where(x > 0, x, 1.0))
