"""Softmax in integers: a table of exponentials, a sum, one division.

    d = max(x) − x                       0 … 255, whatever the zero point
    e = T[d],  T[i] = round(exp(−i·s_x)·2^P)
    y = z_y + (n·e + s/2) / s,  s = Σ e,  n = 1/s_y          (int32 where n is a whole number up to 256)

P is the largest for which n·e and s fit their word, at most 22. Where 1/s_y is no such number, int64 computes
(M·e + (s << 15)) / (s << 16) with M = round(2^16/s_y).
"""

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.operand import Refused
from onnxq.passes.lowering.integer.region import Region
from onnxq.passes.lowering.integer.requantize import cast

__all__ = ["lower_softmax"]

INT32, INT64 = ir.DataType.INT32, ir.DataType.INT64


@dataclass(frozen=True)
class _Plan:
    """Bits of the table's entries, and ``factor/2^scaling = 1/s_y`` in words of ``dtype``."""

    precision: int
    factor: int
    scaling: int
    dtype: ir.DataType


def lower_softmax(region: Region, rw: Rewriter) -> ir.Value:
    """Softmax along one axis of known length (opset 13 or later)."""
    x = region.activation(0)
    shape, axis = x.codes.shape, region.node.attributes.get_int("axis", -1)
    length = None if shape is None else shape[axis]
    if shape is None or not isinstance(length, int):
        raise Refused("the length of its axis is not known; fix the shapes")
    plan, axis = _plan(length, region.scale), axis % len(shape)
    wide = cast(rw, x.codes, INT32)
    distance = rw.op("Sub", [_reduce(rw, "ReduceMax", wide, axis), wide], like=x.codes, dtype=INT32)
    table = np.rint(np.exp(-np.arange(256) * x.scale) * 2.0**plan.precision).astype(plan.dtype.numpy())
    name = region.result.name or "softmax"
    image = rw.op("Gather", [rw.const(table, f"{name}_exp"), distance], like=x.codes, dtype=plan.dtype)
    quotient = _divide(rw, image, _reduce(rw, "ReduceSum", image, axis), plan, name)
    quotient = cast(rw, quotient, INT32)
    if region.zero_point:
        zero = rw.const(np.asarray(region.zero_point, np.int32), f"{name}_zero_point")
        quotient = rw.op("Add", [quotient, zero], like=x.codes, dtype=INT32)
    ends = [rw.const(np.asarray(end, np.int32), f"{name}_bound") for end in (region.low, region.high)]
    clamped = rw.op("Clip", [quotient, *ends], like=x.codes, dtype=INT32)
    return cast(rw, clamped, region.output.format.ir_dtype)


def _plan(length: int, scale: float) -> _Plan:
    precision = min(22, 30 - math.ceil(math.log2(max(length, 1))))
    if precision < 8:
        raise Refused(f"its axis of {length} elements leaves fewer than 8 bits for each exponential")
    whole = round(1 / scale)
    if 1 <= whole <= 256 and np.float32(1 / whole) == np.float32(scale):
        return _Plan(precision, whole, 0, INT32)
    factor = round(2**16 / scale)
    if not 0 < factor < 2**40:
        raise Refused(f"its output scale {scale:g} is none for numbers between 0 and 1")
    return _Plan(precision, factor, 16, INT64)


def _divide(rw: Rewriter, image: ir.Value, total: ir.Value, plan: _Plan, name: str) -> ir.Value:
    """``round(image/total · factor/2^scaling)``; both are positive, so Div truncates downwards."""

    def number(value: int, what: str) -> ir.Value:
        return rw.const(np.asarray(value, plan.dtype.numpy()), f"{name}_{what}")

    def combine(op: str, a: ir.Value, b: ir.Value, like: ir.Value) -> ir.Value:
        return rw.op(op, [a, b], like=like, dtype=plan.dtype)

    half = (
        combine("Mul", total, number(1 << (plan.scaling - 1), "half"), total)
        if plan.scaling
        else combine("Div", total, number(2, "two"), total)
    )
    if plan.scaling:
        total = combine("Mul", total, number(1 << plan.scaling, "unit"), total)
    numerator = combine("Mul", image, number(plan.factor, "levels"), image)
    return combine("Div", combine("Add", numerator, half, image), total, image)


def _reduce(rw: Rewriter, op: str, value: ir.Value, axis: int) -> ir.Value:
    """ReduceMax or ReduceSum of one axis, which stays; ReduceMax takes axes as an input from opset 18 on."""
    shape = None if value.shape is None else ir.Shape([*value.shape[:axis], 1, *value.shape[axis + 1 :]])
    as_input = op == "ReduceSum" or (rw.model.opset_imports.get("") or 0) >= 18
    inputs = [value, rw.const(np.asarray([axis], np.int64), "axes")] if as_input else [value]
    axes = None if as_input else [axis]
    return rw.op(op, inputs, {"keepdims": 1, "axes": axes}, dtype=value.dtype, shape=shape)
