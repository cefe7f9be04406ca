"""Mergeable summaries of the values a tensor takes.

A statistic is a commutative monoid: ``update`` adds one sample's array, ``merge`` adds another statistic.
The result depends on the set of (sample, array) pairs alone, to the last bit: not on their order, on how
they were sharded over processes, nor on the batch they ran in.

    MinMax, ChannelMinMax    bounds of a tensor, or of each slice along an axis          (here)
    Histogram                counts in power-of-two bins, with exact bounds per sample   (histogram.py)
    Moments, Gram, …         sums, which ExactSum keeps free of rounding order           (moments.py)
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import isfinite
from typing import ClassVar, Self

import numpy as np

from onnxq.graph.numeric import Array, FloatArray
from onnxq.words import plural

__all__ = ["ChannelMinMax", "MinMax", "NotFiniteError", "Statistic", "bounds", "by_channel", "field"]


class NotFiniteError(ValueError):
    """An array holds NaN or infinity; whoever knows value and sample says so to the user."""


def bounds(array: Array) -> tuple[float, float]:
    """Smallest and largest element of a non-empty array.

    Raises:
        NotFiniteError: one of the elements is NaN or infinite.
    """
    low, high = float(array.min()), float(array.max())
    if not (isfinite(low) and isfinite(high)):
        bad = array[~np.isfinite(array)]
        raise NotFiniteError(
            f"{bad.size} of its {plural(array.size, 'element')} are not finite (the first is {bad[0]})"
        )
    return low, high


def by_channel(array: Array, axis: int) -> Array:
    """The array as [channels, elements of each]; a view where the layout allows.

    Raises:
        ValueError: the array has no such axis.
    """
    if not -array.ndim <= axis < array.ndim:
        raise ValueError(f"it has {array.ndim} axes, so there is no axis {axis}")
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)


def field(arrays: Mapping[str, Array], name: str, kind: str, ndim: int) -> Array:
    """One array of a serialized statistic.

    Raises:
        ValueError: it is missing or has another rank or kind (``f`` floats, ``i`` integers).
    """
    if name not in arrays:
        raise ValueError(f"the array '{name}' is missing")
    array = arrays[name]
    if array.dtype.kind not in ("iu" if kind == "i" else kind) or array.ndim != ndim:
        raise ValueError(f"the array '{name}' is {array.dtype}[{array.ndim} axes], not {kind}[{ndim} axes]")
    return array


class Statistic(ABC):
    """A mergeable summary of one tensor; an empty one is the neutral element of ``merge``."""

    kind: ClassVar[str]
    """The name by which files refer to this class."""

    @abstractmethod
    def update(self, array: Array, sample: int = 0) -> None:
        """Add the values of one sample; ``sample`` is its position in the whole data set.

        Raises:
            NotFiniteError: the array holds NaN or infinity; nothing was added.
            ValueError: the array's shape does not fit what was seen before; nothing was added.
        """

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Add all that another statistic of the same kind and options has seen.

        Raises:
            ValueError: the other one has other options or another shape.
        """

    @abstractmethod
    def to_arrays(self) -> dict[str, Array]:
        """State and options as plain arrays; equal states give equal bytes."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The inverse of :meth:`to_arrays`.

        Raises:
            ValueError: the arrays do not describe such a statistic.
        """


class MinMax(Statistic):
    """Number of elements and the bounds of a whole tensor (``inf, -inf`` while it is empty)."""

    kind = "minmax"

    def __init__(self) -> None:
        self.count = 0
        self.min = np.inf
        self.max = -np.inf

    def update(self, array: Array, sample: int = 0) -> None:
        if array.size:
            low, high = bounds(array)
            self._add(array.size, low, high)

    def merge(self, other: Self) -> None:
        self._add(other.count, other.min, other.max)

    def _add(self, count: int, low: float, high: float) -> None:
        self.count += count
        self.min, self.max = min(self.min, low), max(self.max, high)

    def to_arrays(self) -> dict[str, Array]:
        return {"count": np.array(self.count, np.int64), "bounds": np.array([self.min, self.max])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        made = cls()
        low, high = field(arrays, "bounds", "f", 1)
        made._add(int(field(arrays, "count", "i", 0)), float(low), float(high))
        return made


class ChannelMinMax(Statistic):
    """Bounds of every slice along ``axis``: ``min`` and ``max`` are float64 [channels], empty at first.

    ``count`` is the number of elements seen per channel. A negative axis counts from the end, so that one
    statistic serves arrays of varying rank.
    """

    kind = "channel-minmax"

    def __init__(self, axis: int) -> None:
        self.axis = axis
        self.count = 0
        self.min: FloatArray = np.empty(0)
        self.max: FloatArray = np.empty(0)

    @property
    def absmax(self) -> FloatArray:
        """max|x| of every channel, float64 [channels]."""
        return np.maximum(np.abs(self.min), np.abs(self.max))

    def update(self, array: Array, sample: int = 0) -> None:
        if not array.size:
            return
        rows = by_channel(array, self.axis)
        low, high = rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)
        if not np.isfinite(low + high).all():
            bounds(array)
        self._add(rows.shape[1], low, high)

    def merge(self, other: Self) -> None:
        if other.axis != self.axis:
            raise ValueError(f"axis {other.axis} cannot be merged into axis {self.axis}")
        if other.count:
            self._add(other.count, other.min, other.max)

    def _add(self, count: int, low: FloatArray, high: FloatArray) -> None:
        if not self.count:
            self.count, self.min, self.max = count, low.copy(), high.copy()
            return
        if low.shape != self.min.shape:
            raise ValueError(f"axis {self.axis} has {low.size} channels here and {self.min.size} before")
        self.count += count
        self.min, self.max = np.minimum(self.min, low), np.maximum(self.max, high)

    def to_arrays(self) -> dict[str, Array]:
        axis, count = np.array(self.axis, np.int64), np.array(self.count, np.int64)
        return {"axis": axis, "count": count, "min": self.min, "max": self.max}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        made = cls(int(field(arrays, "axis", "i", 0)))
        low, high = field(arrays, "min", "f", 1), field(arrays, "max", "f", 1)
        if low.shape != high.shape:
            raise ValueError(f"min has {low.size} channels and max has {high.size}")
        count = int(field(arrays, "count", "i", 0))
        made.count, made.min, made.max = count, low, high
        return made
