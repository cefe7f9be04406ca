"""Arithmetic with a neutral element goes."""

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, equals, get_input, rank, static_shape
from onnxq.graph.numeric import Array
from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["EliminateNoopArithmetic"]

_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1, "Pow": 1, "Max": -np.inf, "Min": np.inf}
_LARGEST_ZERO = 2**16
_EITHER_SIDE = ("Add", "Mul", "Max", "Min")


@dataclass(frozen=True)
class EliminateNoopArithmetic(NodePass):
    """Let the readers of ``x op neutral`` read x.

           x + 0,  0 + x,  x − 0,  x · 1,  1 · x,  x / 1,  x ** 1,  Max(x, −inf),  Min(x, inf)
        => x

           n · 0  =>  0        of integers of a known shape, such as inputs that an exporter only keeps alive

    Applies when every element of the constant is neutral and broadcasting it cannot change the shape of x:
    a scalar, or axes that are all 1 or equal to a known axis of x.
    """

    name = "eliminate-noop-arithmetic"
    contract = Contract.EXACT
    root = tuple(_NEUTRAL)

    def rewrite(self, node: ir.Node, rw: Rewriter, /) -> None:
        if (zero := _zero_product(node)) is not None:
            return rw.replace(node, rw.const(zero, "zero"))
        sides = [(1, 0), (0, 1)] if node.op_type in _EITHER_SIDE else [(1, 0)]
        if len(node.inputs) != 2:
            return None
        for side, other in sides:
            array, x = constant(get_input(node, side)), get_input(node, other)
            if array is None or x is None or not np.all(array == _NEUTRAL[node.op_type]):
                continue
            if not _keeps_shape(x, array):
                return rw.skip(node, f"the constant's shape {array.shape} may widen '{x.name}'")
            rw.bypass(node, x)
            return None
        return None


def _zero_product(node: ir.Node) -> Array | None:
    """What a product of integers with 0 is; floats may be NaN or infinite."""
    if node.op_type != "Mul" or node.outputs[0].is_graph_output():
        return None
    arrays = [array for value in node.inputs if (array := constant(value)) is not None]
    zeros = [array for array in arrays if array.dtype.kind in "iu" and equals(array, 0)]
    if not zeros:
        return None
    shapes = [shape for value in node.inputs if (shape := static_shape(value)) is not None]
    if len(shapes) < len(node.inputs):
        return None
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:  # an invalid model, which shape inference names
        return None
    return np.zeros(shape, zeros[0].dtype) if math.prod(shape) <= _LARGEST_ZERO else None


def _keeps_shape(x: ir.Value, array: Array) -> bool:
    if array.ndim == 0:
        return True
    if x.shape is None or (rank(x) or 0) < array.ndim:
        return False
    return all(a in (1, d) for a, d in zip(array.shape[::-1], reversed(list(x.shape)), strict=False))
