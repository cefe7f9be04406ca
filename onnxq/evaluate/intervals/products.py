"""Sums of products: ConvInteger and MatMulInteger over their actual weights, any two factors otherwise.

Σ (x − z_x)·(w − z_w),  x in [low, high]:  the least sum takes low where w − z_w > 0 and high elsewhere
"""

import math

import numpy as np
import onnx_ir as ir

from onnxq.evaluate.intervals.analysis import Analysis
from onnxq.evaluate.intervals.interval import Interval
from onnxq.graph.match import constant, get_input
from onnxq.graph.numeric import IntArray

__all__ = ["conv_integer", "matmul_integer"]


def conv_integer(node: ir.Node, analysis: Analysis) -> Interval | None:
    """One interval an output channel; padding is a zero among the x − z_x."""
    x, w = _centered(node, analysis, 0, 2), _weight(node, 1, 3)
    if x is None or w is None:
        return None
    if any(node.attributes.get_ints("pads", ())) or node.attributes.get_string("auto_pad", "") != "NOTSET":
        x = x.union(Interval.of(0, 0))
    return _sums(w.reshape(len(w), -1).T, x, (-1, *[1] * (w.ndim - 2)))


def matmul_integer(node: ir.Node, analysis: Analysis) -> Interval | None:
    """One interval a column of a constant on the right; else the number of products times the largest."""
    zeros = (2, 3) if node.op_type == "MatMulInteger" else (len(node.inputs), len(node.inputs))
    a, b = _centered(node, analysis, 0, zeros[0]), _centered(node, analysis, 1, zeros[1])
    if a is None or b is None:
        return None
    right, left = _weight(node, 1, zeros[1]), _weight(node, 0, zeros[0])
    if right is not None and right.ndim <= 2:
        return _sums(right.reshape(right.shape[0], -1), a, (-1,))
    if right is not None:
        ends = right * a.least, right * a.greatest
        low, high = (op(*ends).sum(axis=-2, keepdims=True) for op in (np.minimum, np.maximum))
        return Interval(low.astype(object), high.astype(object))
    if left is not None and left.ndim == 2:
        return _sums(left.T, b, (-1, 1))
    length = _length(node)
    return None if length is None else a.corners(b, lambda p, q: p * q * length)


def _sums(matrix: IntArray, x: Interval, shape: tuple[int, ...]) -> Interval:
    """The bounds of ``Σ_k matrix[k, c]·x_k`` for each c; exact, since 8-bit products are summed in int64."""
    low, high = matrix * x.least, matrix * x.greatest
    ends = np.minimum(low, high).sum(axis=0), np.maximum(low, high).sum(axis=0)
    return Interval(*(end.astype(object).reshape(shape) for end in ends))


def _centered(node: ir.Node, analysis: Analysis, index: int, zero: int) -> Interval | None:
    """One interval for an operand minus its zero points."""
    x = analysis.get(get_input(node, index))
    if x is None:
        return None
    point = get_input(node, zero)
    z = Interval.of(0, 0) if point is None else analysis.get(point)
    return None if z is None else x.hull.corners(z.hull, lambda p, q: p - q)


def _weight(node: ir.Node, index: int, zero: int) -> IntArray | None:
    """A constant operand minus one zero point, int64."""
    array, point = constant(get_input(node, index)), get_input(node, zero)
    z = np.zeros((), np.int64) if point is None else constant(point)
    if array is None or z is None or array.dtype.itemsize > 4 or z.size not in (1, array.shape[-1]):
        return None
    return array.astype(np.int64) - (z.astype(np.int64).reshape(()) if z.size == 1 else z.astype(np.int64))


def _length(node: ir.Node) -> int | None:
    """How many products are summed."""
    for value, axis in ((node.inputs[0], -1), (node.inputs[1], -2)):
        shape = None if value is None else value.shape
        if shape is None or len(shape) == 0:
            continue
        dim = shape[max(axis, -len(shape))]
        if isinstance(dim, int):
            return math.prod([dim])
    return None
