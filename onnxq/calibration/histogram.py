"""A histogram whose bins do not depend on the order in which the data came.

The bin width is a power of two and bin i is [i·w, (i+1)·w), so bins are anchored at zero. w is the smallest
at which 4,096 bins reach beyond max|x|; when data outgrows that, w doubles and pairs of bins merge. As
⌊⌊x/w⌋/2⌋ = ⌊x/2w⌋, the counts are those of the final width applied to all data: a function of the multiset
of values alone. At least 2,048 bins lie between zero and max|x|.
"""

from collections.abc import Mapping
from math import floor, frexp, ldexp
from typing import Self

import numpy as np

from onnxq.calibration.counting import count_bins
from onnxq.calibration.statistics import Statistic, bounds, field
from onnxq.graph.numeric import Array, FloatArray, IntArray

__all__ = ["Histogram"]

SIDE = 4096
MOST_SAMPLES = 1 << 24
"""Positions beyond this are refused: every statistic keeps two numbers a sample."""
ENOUGH = 1 << 16
"""Smaller arrays wait until there are this many elements to count."""


class Histogram(Statistic):
    """Counts of a tensor's values, zeros apart, and the exact bounds of every sample.

    Values are taken as float32 (other types are rounded to it). Zeros, of which a Relu makes many, are in
    ``zeros`` and not in the bins.
    """

    kind = "histogram"

    def __init__(self) -> None:
        self.count = 0
        self._zeros = 0
        self._exponent: int | None = None  # the bins reach to ±2^exponent; None: all values were zero
        self._waiting: list[FloatArray] = []
        self._waiting_size = 0
        self._bins: IntArray = np.zeros(2 * SIDE, np.int64)
        self._low: FloatArray = np.empty(0, np.float32)  # by sample; +inf where a sample was not seen
        self._high: FloatArray = np.empty(0, np.float32)

    @property
    def zeros(self) -> int:
        """How many values are zero."""
        self._settle()
        return self._zeros

    @property
    def min(self) -> float:
        """The smallest value; +inf while empty."""
        return float(self._low.min(initial=np.inf))

    @property
    def max(self) -> float:
        """The largest value; −inf while empty."""
        return float(self._high.max(initial=-np.inf))

    @property
    def width(self) -> float:
        """The width w of a bin, a power of two; 0 while all values are zero."""
        self._settle()
        return self._width

    @property
    def _width(self) -> float:
        return 0.0 if self._exponent is None else ldexp(1.0, self._exponent) / SIDE

    @property
    def samples(self) -> tuple[IntArray, FloatArray, FloatArray]:
        """Position, smallest and largest value of every sample seen, in the order of their positions."""
        seen = np.flatnonzero(self._low <= self._high)
        return seen, self._low[seen], self._high[seen]

    def bins(self) -> tuple[int, IntArray]:
        """Index of the first occupied bin, and the counts [n] up to the last; n = 0 without values."""
        self._settle()
        used = np.flatnonzero(self._bins)
        if not used.size:
            return 0, self._bins[:0]
        return int(used[0]) - SIDE, self._bins[used[0] : used[-1] + 1]

    def side(self, sign: int) -> IntArray:
        """Counts of the positive (``sign`` 1) or negative (−1) values by |x|: bin i is [i·w, (i+1)·w)."""
        self._settle()
        counts = self._bins[SIDE:] if sign > 0 else self._bins[:SIDE][::-1]
        return np.trim_zeros(counts, "b")

    def magnitudes(self) -> IntArray:
        """Counts of |x| without the zeros, from bin [0, w) to the last that is occupied."""
        self._settle()
        return np.trim_zeros(self._bins[SIDE:] + self._bins[:SIDE][::-1], "b")

    def points(self) -> tuple[FloatArray, FloatArray]:
        """The data as weighted points: values float64 [n], ascending, and how often each occurs.

        A bin stands at its middle, the outermost no farther than the exact bounds; zeros at zero.
        """
        first, counts = self.bins()
        middles = np.clip((np.arange(first, first + counts.size) + 0.5) * self.width, self.min, self.max)
        kept = counts > 0
        values, weights = middles[kept], counts[kept].astype(np.float64)
        if self.zeros:
            place = int(np.searchsorted(values, 0.0))
            values, weights = np.insert(values, place, 0.0), np.insert(weights, place, float(self.zeros))
        return values, weights

    def update(self, array: Array, sample: int = 0) -> None:
        with np.errstate(over="ignore"):
            flat = np.asarray(array, np.float32).reshape(-1)
        if not flat.size:
            return
        low, high = bounds(flat)
        self.count += flat.size
        self._make_room(sample)
        self._low[sample], self._high[sample] = min(self._low[sample], low), max(self._high[sample], high)
        if flat.size >= ENOUGH:
            self._count(flat, low, high)
            return
        self._waiting.append(flat.copy())
        self._waiting_size += flat.size
        if self._waiting_size >= ENOUGH:
            self._settle()

    def _settle(self) -> None:
        """Count what waits; small arrays of many samples together, as each call has a price of its own."""
        if not self._waiting:
            return
        flat = np.concatenate(self._waiting)
        self._waiting, self._waiting_size = [], 0
        self._count(flat, float(flat.min()), float(flat.max()))

    def _count(self, flat: FloatArray, low: float, high: float) -> None:
        if low == high == 0:
            self._zeros += flat.size
            return
        self._reach(frexp(max(-low, high))[1])
        first, last = min(0, floor(low / self._width)), max(0, floor(high / self._width))
        counts, zeros = count_bins(flat, self._width, first, last - first + 1)
        self._zeros += zeros
        self._bins[SIDE + first : SIDE + last + 1] += counts

    def merge(self, other: Self) -> None:
        self._settle()
        other._settle()
        if other._exponent is not None:
            grown = self._reach(other._exponent)
            self._bins += _coarser(other._bins, grown - other._exponent)
        self.count += other.count
        self._zeros += other._zeros
        self._see(*other.samples)

    def _reach(self, exponent: int) -> int:
        """Widen the bins until they hold all |x| < 2^exponent."""
        if self._exponent is None:
            self._exponent = exponent
        elif exponent > self._exponent:
            self._bins = _coarser(self._bins, exponent - self._exponent)
            self._exponent = exponent
        return self._exponent

    def _see(self, positions: IntArray, low: FloatArray, high: FloatArray) -> None:
        if not positions.size:
            return
        self._make_room(int(positions.max()))
        self._low[positions] = np.minimum(self._low[positions], low)
        self._high[positions] = np.maximum(self._high[positions], high)

    def _make_room(self, position: int) -> None:
        if (missing := position + 1 - self._low.size) > 0:
            room = max(missing, self._low.size)
            self._low = np.append(self._low, np.full(room, np.inf, np.float32))
            self._high = np.append(self._high, np.full(room, -np.inf, np.float32))

    def to_arrays(self) -> dict[str, Array]:
        first, counts = self.bins()
        positions, low, high = self.samples
        exponent = 0 if self._exponent is None else self._exponent
        head = np.array([self.count, self.zeros, exponent, first], np.int64)
        slim = counts.astype(np.min_scalar_type(counts.max(initial=0)))
        return {"head": head, "bins": slim, "samples": positions, "low": low, "high": high}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        head, counts = field(arrays, "head", "i", 1), field(arrays, "bins", "i", 1)
        positions = field(arrays, "samples", "i", 1)
        low, high = field(arrays, "low", "f", 1), field(arrays, "high", "f", 1)
        if head.size != 4 or not positions.shape == low.shape == high.shape:
            raise ValueError("the arrays of this histogram do not have the lengths they need")
        count, zeros, exponent, first = (int(number) for number in head)
        if not (-SIDE <= first <= first + counts.size <= SIDE and -200 < exponent < 200):
            raise ValueError(f"{counts.size} bins from {first} on are outside of a histogram")
        if zeros + int(counts.sum()) != count or not all(0 <= p < MOST_SAMPLES for p in positions.tolist()):
            raise ValueError("the counts of this histogram contradict each other")
        made = cls()
        made.count, made._zeros = count, zeros
        made._exponent = exponent if counts.size else None
        made._bins[SIDE + first : SIDE + first + counts.size] = counts
        made._see(positions, low, high)
        return made


def _coarser(bins: IntArray, doublings: int) -> IntArray:
    """The same counts in bins 2^doublings as wide. Beyond SIDE only the signs are left, in bins −1 and 0."""
    group = 1 << min(doublings, SIDE.bit_length() - 1)
    merged = bins.reshape(-1, group).sum(axis=1)
    coarse = np.zeros_like(bins)
    coarse[SIDE - SIDE // group : SIDE + SIDE // group] = merged
    return coarse
