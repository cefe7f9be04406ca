"""ReduceSum and ReduceMax, whose axes are an attribute or an input, depending on the opset."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter

__all__ = ["reduce_axes", "settled"]


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


def settled(rw: Rewriter, total: ir.Value, summed: ir.Value) -> ir.Value:
    """Prepare ``total − total mod 1``: sums over axes of ``summed`` that no arithmetic is fused into.

    OpenVINO 2026.4 fuses a reduction of int32 of rank 3 with what is added to it or multiplied by, and then
    all but the first sample is wrong. It leaves sums alone that are read twice.
    """
    shape = summed.shape
    if shape is not None and (len(shape) != 3 or shape[0] == 1):
        return total
    rest = rw.op("Mod", [total, rw.const(np.asarray(1, np.int32), "one")], like=total)
    return rw.op("Sub", [total, rest], like=total)
