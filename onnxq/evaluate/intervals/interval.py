"""Sets of integers between two bounds, one pair for the whole tensor or one for each channel.

Bounds are Python integers, which never overflow, in arrays of dtype object that broadcast to the tensor from
the right, as ONNX and numpy broadcast.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import Array

__all__ = ["Bounds", "Interval", "limits"]

Bounds: TypeAlias = np.ndarray[Any, np.dtype[np.object_]]

LARGEST_ARRAY = 1 << 14
"""Constants with more elements count as one interval."""


@dataclass(frozen=True, eq=False)
class Interval:
    """All integers from ``low`` to ``high``."""

    low: Bounds
    high: Bounds

    @staticmethod
    def of(low: int, high: int) -> "Interval":
        """One pair of bounds."""
        return Interval(_boxed(low), _boxed(high))

    @staticmethod
    def constant(array: Array) -> "Interval":
        """A constant's own numbers, or their least and greatest where there are many.

        Long unsigned words count modulo 2^n, so those of the upper half stand for negative numbers.
        """
        if array.size == 0:
            return Interval.of(0, 0)
        if array.dtype.kind == "u" and array.dtype.itemsize >= 4:
            array = array.view(array.dtype.str.replace("u", "i"))
        if array.size > LARGEST_ARRAY:
            return Interval.of(int(array.min()), int(array.max()))
        boxed = np.asarray(array.astype(np.int64) if array.dtype == np.bool_ else array).astype(object)
        return Interval(boxed, boxed)

    @property
    def least(self) -> int:
        """The smallest of all lower bounds."""
        return int(np.min(self.low))

    @property
    def greatest(self) -> int:
        """The largest of all upper bounds."""
        return int(np.max(self.high))

    @property
    def hull(self) -> "Interval":
        """One pair of bounds around all of them."""
        return Interval.of(self.least, self.greatest)

    @property
    def bits(self) -> int:
        """The width of a two's-complement number that holds it, or of an unsigned one that needs no sign."""
        signed = 1 if self.least < 0 else 0
        return max((-self.least - 1).bit_length() if signed else 0, self.greatest.bit_length()) + signed

    def within(self, low: int, high: int) -> bool:
        """Whether nothing in it is beyond ``low`` or ``high``."""
        return low <= self.least and self.greatest <= high

    def corners(self, other: "Interval", op: Callable[[Any, Any], Any]) -> "Interval":
        """The bounds of an operation that has its extremes at the ends of both operands."""
        ends = [np.asarray(op(a, b), object) for a in (self.low, self.high) for b in (other.low, other.high)]
        return Interval(_reduce(np.minimum, ends), _reduce(np.maximum, ends))

    def union(self, other: "Interval") -> "Interval":
        """What is in either, and all between."""
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return Interval(np.asarray(low, object), np.asarray(high, object))

    def clamp(self, low: "Interval", high: "Interval") -> "Interval":
        """What ``min(max(x, low), high)`` can be."""
        ends = [np.minimum(np.maximum(end, b.low), t.low) for end, b, t in _ends(self, low, high)]
        tops = [np.minimum(np.maximum(end, b.high), t.high) for end, b, t in _ends(self, low, high)]
        return Interval(np.asarray(ends[0], object), np.asarray(tops[1], object))

    def plus(self, number: int) -> "Interval":
        """All numbers, ``number`` further up."""
        return Interval(np.asarray(self.low + number, object), np.asarray(self.high + number, object))


def limits(dtype: ir.DataType | None) -> Interval:
    """Everything that a type of integers or booleans can hold."""
    if dtype == ir.DataType.BOOL:
        return Interval.of(0, 1)
    assert dtype is not None, "the type is known"
    info = np.iinfo(dtype.numpy())
    return Interval.of(int(info.min), int(info.max))


def _ends(x: Interval, low: Interval, high: Interval) -> list[tuple[Bounds, Interval, Interval]]:
    return [(x.low, low, high), (x.high, low, high)]


def _boxed(number: int) -> Bounds:
    box = np.empty((), object)
    box[()] = int(number)
    return box


def _reduce(op: Callable[[Any, Any], Any], arrays: list[Bounds]) -> Bounds:
    total = arrays[0]
    for array in arrays[1:]:
        total = np.asarray(op(total, array), object)
    return total
