"""What is added to a layer's output later: the other operand of the Add that ends a residual block.

    z = y + r       y' = W·x + (r − r̂)       r of the float model, r̂ behind quantized layers

A layer that learns y' instead of y makes up for the error that its block's input brings along: it gives the
block's output, not its own, with the float model as teacher.
"""

from collections.abc import Mapping

import onnx_ir as ir

from onnxq.graph.match import constant, is_op, sole_consumer
from onnxq.quant.operators import bias_add
from onnxq.rounding.sites import Site

__all__ = ["find_skip"]


def find_skip(site: Site, depth: Mapping[ir.Value, int]) -> tuple[ir.Node, int] | None:
    """The Add and which of its inputs is the other one; None where there is none of the same shape.

    ``depth`` says how many layers lie before a value. An operand with layers before it that are rounded
    later than this one is no use: it is going to change.
    """
    value = (bias_add(site.node) or site.node).outputs[0]
    own = value
    while (node := sole_consumer(own)) is not None and is_op(node, "QuantizeLinear", "DequantizeLinear"):
        own = node.outputs[0]
    if node is None or not is_op(node, "Add"):
        return None
    other = 1 - list(node.inputs).index(own)
    operand, data = node.inputs[other], site.node.inputs[0]
    if operand is None or data is None or constant(operand) is not None:
        return None
    if operand.shape is None or operand.shape != value.shape or operand.shape.has_unknown_dim():
        return None
    if depth.get(operand, 0) > depth.get(data, 0):
        return None
    return node, other
