"""A Reshape to the shape that is already there goes."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import static_shape
from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["EliminateNoopReshape"]


@dataclass(frozen=True)
class EliminateNoopReshape(NodePass):
    """Let the readers of a Reshape, Flatten or Expand that keeps the shape read its input.

           y = Reshape(x, s)       shape(y) = shape(x)
        => y = x

    Applies when both shapes are static and equal. For Reshape and Flatten one axis of y may be dynamic: the
    number of elements is the same, so if all other axes agree (and none is 0), that one does too. A Reshape
    that pins a dynamic axis of x to a number stays, for what it says about the shape.
    """

    name = "eliminate-noop-reshape"
    contract = Contract.EXACT
    root = ("Reshape", "Flatten", "Expand")

    def rewrite(self, node: ir.Node, rw: Rewriter, /) -> None:
        x, y = node.inputs[0], node.outputs[0]
        if x is None:
            return
        static = static_shape(x) is not None and static_shape(x) == static_shape(y)
        if static or (node.op_type != "Expand" and _same_but_one(x.shape, y.shape)):
            rw.bypass(node, x)


def _same_but_one(a: ir.Shape | None, b: ir.Shape | None) -> bool:
    if a is None or b is None or len(a) != len(b):
        return False
    differing = [(i, j) for i, j in zip(a, b, strict=True) if not (isinstance(i, int) and i == j != 0)]
    return len(differing) == 1 and not isinstance(differing[0][1], int)
