"""ReduceSum and ReduceMax, whose axes are an attribute or an input, depending on the opset."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter

__all__ = ["reduce_axes"]


def reduce_axes(rw: Rewriter, op: str, value: ir.Value, axes: Sequence[int]) -> ir.Value:
    """Prepare a reduction over axes counted from the front, which stay as 1.

    ReduceSum takes axes as an input from opset 13 on, ReduceMax from 18 on.
    """
    shape = value.shape
    if shape is not None:
        shape = ir.Shape([1 if i in axes else dim for i, dim in enumerate(shape)])
    as_input = op == "ReduceSum" or (rw.model.opset_imports.get("") or 0) >= 18
    inputs = [value, rw.const(np.asarray(axes, np.int64), "axes")] if as_input else [value]
    attributes = {"keepdims": 1, "axes": None if as_input else list(axes)}
    return rw.op(op, inputs, attributes, dtype=value.dtype, shape=shape)
