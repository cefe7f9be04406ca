"""Sums over the channels of a tensor: means, variances and the Gram matrix that rounding methods need.

The sum within one sample is taken in float64 by numpy; the sums of the samples are added by
:class:`ExactSum`, so that the result does not depend on their order or sharding.
"""

from collections.abc import Mapping
from typing import Self

import numpy as np

from onnxq.calibration.exact_sum import ExactSum
from onnxq.calibration.statistics import Statistic, bounds, by_channel, field
from onnxq.graph.numeric import Array, FloatArray

__all__ = ["Gram", "Moments"]


class _ChannelSums(Statistic):
    """``count`` positions per channel, and two sums of float64 arrays over them."""

    def __init__(self, axis: int) -> None:
        self.axis = axis
        self.count = 0
        self._first = ExactSum()
        self._second = ExactSum()

    @staticmethod
    def _products(rows: FloatArray) -> FloatArray:
        raise NotImplementedError

    @property
    def mean(self) -> FloatArray:
        """The mean of every channel, float64 [channels]."""
        mean: FloatArray = self._first.value / max(self.count, 1)
        return mean

    def update(self, array: Array, sample: int = 0) -> None:
        if not array.size:
            return
        bounds(array)
        rows = np.ascontiguousarray(by_channel(array, self.axis), np.float64)
        self._first.add(rows.sum(axis=1))
        self._second.add(self._products(rows))
        self.count += rows.shape[1]

    def merge(self, other: Self) -> None:
        if other.axis != self.axis:
            raise ValueError(f"axis {other.axis} cannot be merged into axis {self.axis}")
        self._first.merge(other._first)
        self._second.merge(other._second)
        self.count += other.count

    def to_arrays(self) -> dict[str, Array]:
        head = np.array([self.axis, self.count], np.int64)
        sums = (("first", self._first), ("second", self._second))
        return {"head": head} | {f"{n}.{k}": v for n, s in sums for k, v in s.to_arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        head = field(arrays, "head", "i", 1)
        if head.size != 2:
            raise ValueError(f"the array 'head' has {head.size} entries, not 2")
        made = cls(int(head[0]))
        made.count = int(head[1])
        made._first, made._second = (
            ExactSum.from_arrays({k: arrays[f"{n}.{k}"] for k in ("top", "slices") if f"{n}.{k}" in arrays})
            for n in ("first", "second")
        )
        return made


class Moments(_ChannelSums):
    """Σx and Σx² of every slice along ``axis``; all properties are float64 [channels]."""

    kind = "moments"

    @staticmethod
    def _products(rows: FloatArray) -> FloatArray:
        squares: FloatArray = np.einsum("cn,cn->c", rows, rows)
        return squares

    @property
    def mean_square(self) -> FloatArray:
        """E[x²] of every channel."""
        square: FloatArray = self._second.value / max(self.count, 1)
        return square

    @property
    def variance(self) -> FloatArray:
        """E[x²] − E[x]², not below zero."""
        return np.maximum(self.mean_square - self.mean**2, 0.0)


class Gram(_ChannelSums):
    """The uncentred second moments of the channels with each other, for a MatMul or 1×1 Conv that reads them.

    ``matrix`` is XᵀX, float64 [channels, channels], X being all positions as rows; ``matrix / count`` is
    E[x xᵀ], whose diagonal holds the mean squares.
    """

    kind = "gram"

    @staticmethod
    def _products(rows: FloatArray) -> FloatArray:
        return rows @ rows.T

    @property
    def matrix(self) -> FloatArray:
        """Σ x xᵀ over all positions."""
        return self._second.value
