"""Sums of float64 arrays that do not depend on the order of their terms, to the last bit.

Every term is cut at fixed places, the multiples of 2^32j, into integer slices

    x = Σ_j s_j · 2^(32 j),   s_j = rint((x − Σ_{i>j} s_i · 2^(32 i)) / 2^(32 j)),   |s_j| ≤ 2^31

and slices of equal weight are added as int64, which is exact and commutes. Only the three highest slices
of the largest term are kept, at least 64 bits below it: what is dropped is smaller than 2^-64 of it per
term, and is the same whatever the order, because the slices of a term do not depend on the others.

Source: the indexed sums of Demmel & Nguyen, "Parallel Reproducible Summation", IEEE TC 2015, here with
integers in place of their error-free float transformation.
"""

from collections.abc import Mapping
from math import frexp
from typing import Self

import numpy as np

from onnxq.calibration.statistics import field
from onnxq.graph.numeric import Array, FloatArray

__all__ = ["ExactSum"]

SLICES = 3
BITS = 32
LOWEST = -28
"""The lowest weight of a top slice: 2^(32·−28). Sums of terms below 2^−865 lose bits, and stay order-free."""


class ExactSum:
    """A sum of float64 arrays of one shape, which the first term decides. Room for 2^31 terms."""

    def __init__(self) -> None:
        self._top = LOWEST
        self._slices: Array | None = None

    @property
    def value(self) -> FloatArray:
        """The sum, float64 of the terms' shape; 0 of shape [] while there are none."""
        if self._slices is None:
            return np.zeros(())
        parts = [self._slices[i] * self._weight(i) for i in range(SLICES)]
        total: FloatArray = parts[0] + (parts[1] + parts[2])
        return total

    def add(self, term: FloatArray) -> None:
        """Add one array; float64 and finite.

        Raises:
            ValueError: its shape is not that of the earlier terms.
        """
        rest = np.asarray(term, np.float64)
        slices = self._lift(_top(rest), rest.shape)
        for i in range(SLICES):
            weight = self._weight(i)
            part = np.rint(rest / weight)
            slices[i] += part.astype(np.int64)
            rest = rest - part * weight

    def merge(self, other: Self) -> None:
        """Add all terms of another sum.

        Raises:
            ValueError: its terms have another shape.
        """
        if other._slices is None:
            return
        slices = self._lift(other._top, other._slices.shape[1:])
        lost = self._top - other._top
        if lost < SLICES:
            slices[lost:] += other._slices[: SLICES - lost]

    def _lift(self, top: int, shape: tuple[int, ...]) -> Array:
        """The slices, moved down so that one of weight ``top`` fits."""
        if self._slices is None:
            self._slices = np.zeros((SLICES, *shape), np.int64)
        elif self._slices.shape[1:] != shape:
            raise ValueError(f"a sum over shape {self._slices.shape[1:]} cannot take one of {shape}")
        if (rise := min(top - self._top, SLICES)) > 0:
            self._slices[rise:] = self._slices[: SLICES - rise].copy()
            self._slices[:rise] = 0
        self._top = max(self._top, top)
        return self._slices

    def _weight(self, i: int) -> float:
        return float(2.0 ** (BITS * (self._top - i)))

    def to_arrays(self) -> dict[str, Array]:
        """The slices and the weight of the highest; no slices while there are no terms."""
        top = np.array(self._top, np.int64)
        return {"top": top} if self._slices is None else {"top": top, "slices": self._slices}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The inverse of :meth:`to_arrays`.

        Raises:
            ValueError: the arrays do not describe a sum.
        """
        made = cls()
        made._top = int(field(arrays, "top", "i", 0))
        if not LOWEST <= made._top <= BITS:
            raise ValueError(f"no sum has a top slice of weight {made._top}")
        if "slices" in arrays:
            made._slices = field(arrays, "slices", "i", arrays["slices"].ndim).astype(np.int64)
            if made._slices.shape[:1] != (SLICES,):
                raise ValueError(f"a sum has {SLICES} slices, not an array of shape {made._slices.shape}")
        return made


def _top(term: FloatArray) -> int:
    """The lowest t at which every slice above t is zero: max|x| < 2^(32 (t + 1) − 1)."""
    largest = float(np.abs(term).max(initial=0.0))
    return max(LOWEST, -(-(frexp(largest)[1] + 1) // BITS) - 1) if largest else LOWEST
