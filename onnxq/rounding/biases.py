"""Where a linear node keeps its bias, and how to change it."""

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op
from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.quant.operators import bias_add

__all__ = ["bias_place", "has_bias", "shift_bias"]


def has_bias(node: ir.Node, outputs: int) -> bool:
    """Whether each of the node's ``outputs`` channels has a float32 bias, or can be given one.

    A Conv or Gemm without bias can; a MatMul has one if an Add of a constant is behind it.
    """
    place = bias_place(node)
    if place is None:
        return False
    value = get_input(*place)
    array = constant(value)
    return value is None or (array is not None and array.dtype == np.float32 and array.size == outputs)


def shift_bias(node: ir.Node, shift: FloatArray, rw: Rewriter) -> None:
    """Add ``shift`` [outputs] to the bias of a node that :func:`has_bias`; equal ones are no edit."""
    place = bias_place(node)
    if place is None:
        return
    value = get_input(*place)
    array = constant(value)
    old = np.zeros(shift.size, np.float32) if array is None else array
    new = (old + shift.reshape(old.shape)).astype(np.float32)
    if not np.array_equal(new, old):
        name = (value.name if value is not None else None) or f"{node.outputs[0].name}_bias"
        rw.set_input(*place, rw.const(new, name))


def bias_place(node: ir.Node) -> tuple[ir.Node, int] | None:
    """The node that reads the bias, and as which input."""
    if not is_op(node, "MatMul"):
        return node, 2
    add = bias_add(node)
    return None if add is None else (add, 1 if add.inputs[0] is node.outputs[0] else 0)
