"""What one operator demands of the scales around it, and how it takes them in.

x' = x / s_x,  y' = y / s_y :   which s_x and s_y leave y' = op'(x') exact, with op' of the same kind?
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from math import prod
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import is_float, rank
from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.quant.channel_scale.unknowns import Unknowns

__all__ = ["Barrier", "Rule", "Scales", "Tracer", "along", "is_one", "only_along"]

Scales: TypeAlias = Callable[[ir.Value | None], FloatArray]
"""The scale of a value, float64 that broadcasts against it; one element 1.0 where it has none."""


class Tracer:
    """The numbers of the unknown scales, by value; int64 arrays of each value's rank."""

    def __init__(self, inserted: Collection[ir.Value] = ()) -> None:
        self.unknowns = Unknowns()
        self.ids: dict[ir.Value, IntArray] = {}
        self.inserted: dict[ir.Value, IntArray] = {}
        """What a Mul behind a value scales; only the linear nodes that read the value read the Mul."""
        self._may_insert = frozenset(inserted)

    def of(self, value: ir.Value | None) -> IntArray:
        """The numbers of a value; zeros where it can have no scale."""
        if value is None or value not in self.ids:
            return np.zeros((1,) * (rank(value) or 0), np.int64)
        return self.ids[value]

    def free(self, value: ir.Value | None) -> bool:
        """Whether a value may have a scale, by what was seen so far."""
        return bool(self.of(value).any())

    def give(self, value: ir.Value, ids: IntArray) -> None:
        """Say which numbers a value has; ignored where its rank or dtype does not fit."""
        if is_float(value) and rank(value) == ids.ndim and ids.any():
            self.ids[value] = ids

    def fresh(self, value: ir.Value, axis: int, channels: int) -> None:
        """A value whose maker can take any scale along one axis."""
        axes = rank(value)
        if axes is not None and -axes <= axis < axes and is_float(value):
            shape = [1] * axes
            shape[axis] = channels
            self.ids[value] = self.unknowns.fresh(tuple(shape))

    def behind(self, value: ir.Value | None, axis: int, channels: int) -> None:
        """A value that keeps its scale, before a linear node: a Mul may be put between them."""
        axes = rank(value)
        if value is None or axes is None or value not in self._may_insert or value in self.inserted:
            return
        shape = [1] * axes
        shape[axis] = channels
        self.inserted[value] = self.unknowns.fresh(tuple(shape))

    def fix(self, *values: ir.Value | None) -> None:
        """These values keep their scale."""
        for value in values:
            if self.free(value):
                self.unknowns.equal(self.of(value), 0)


class Rule(ABC):
    """How one kind of operator meets scales."""

    @abstractmethod
    def trace(self, node: ir.Node, tracer: Tracer) -> None:
        """Give the outputs their numbers and state what the inputs' must fulfil."""

    def apply(self, node: ir.Node, scales: Scales, rw: Rewriter) -> None:  # noqa: B027
        """Change the node so that it reads scaled inputs and makes scaled outputs. Most need nothing."""


class Barrier(Rule):
    """An operator that is not homogeneous, or not known: nothing around it has a scale."""

    def trace(self, node: ir.Node, tracer: Tracer) -> None:
        tracer.fix(*node.inputs)


def only_along(array: IntArray, axis: int) -> bool:
    """Whether an array differs along one axis at most."""
    return -array.ndim <= axis < array.ndim and prod(array.shape) == array.shape[axis]


def along(scale: FloatArray, channels: int) -> FloatArray:
    """A scale that differs along one axis at most, as float64 [channels]."""
    return np.broadcast_to(scale.reshape(-1), (channels,))


def is_one(*scales: FloatArray) -> bool:
    """Whether nothing is scaled at all."""
    return all(bool((scale == 1.0).all()) for scale in scales)
